"""Reviews as models write them, with the right reading."""

from __future__ import annotations

import pytest

from atlas.environments.teaching.review_text import Reading, read_review

CERTIFIED = [
    "Verdict: certified",
    "verdict: Certified.",
    "**Verdict:** certified",
    "**Verdict: Certified**",
    "## Verdict: CERTIFIED\n",
    "> Verdict = certified",
    "- Verdict: correct",
    "Verdict: approved",
    "Verdict: accept",
    "Verdict: pass",
    "Verdict: right",
    "The work adds up.\nVerdict: certified",
    'Verdict: "certified"',
    '{"verdict": "certified", "guidance": ""}',
    '{"certified": true}',
    '```json\n{"certified": true, "guidance": null}\n```',
    "Verdict: certified\nVerdict: certified",
    "Verdict: certified, every step is right",
]
REVISE = [
    ("Verdict: revise\nMultiply first.", "Multiply first."),
    ("verdict: REVISE\n\nGuidance: Multiply first.", "Multiply first."),
    ("**Verdict:** revise\n**Guidance:** Multiply first.", "Multiply first."),
    ("Multiply first.\nVerdict: revise", "Multiply first."),
    ("Verdict: incorrect\nMultiply first.", "Multiply first."),
    ("Verdict: not certified\nMultiply first.", "Multiply first."),
    ("Verdict: wrong\nMultiply first.", "Multiply first."),
    ("Verdict: retry\nMultiply first.", "Multiply first."),
    ("Verdict: try again\nMultiply first.", "Multiply first."),
    ('{"verdict": "revise", "guidance": "Multiply first."}', "Multiply first."),
    ('{"certified": false, "guidance": " Multiply first. "} ', "Multiply first."),
    ('```\n{"verdict": "rejected", "guidance": "Multiply first."}\n```', "Multiply first."),
    ("Verdict: revise", ""),
    ('{"certified": false, "guidance": 3}', ""),
]
UNREADABLE = [
    "",
    "Multiply first.",
    "Verdict: certified | revise",
    "Verdict: certified or revise",
    "Verdict: revise or certified",
    "Verdict: perhaps",
    "Verdict:",
    "Verdict: certified\nVerdict: revise",
    "The verdict is certified",
    '{"verdict": null}',
    '{"verdict": 3, "guidance": "x"}',
    '{"guidance": "Multiply first."}',
    '{"certified": true',
    "[" * 3000,
    "{" * 3000,
]


@pytest.mark.parametrize("text", CERTIFIED)
def test_certified(text: str) -> None:
    found = read_review(text)
    assert found.certified
    assert found.readable


@pytest.mark.parametrize(("text", "guidance"), REVISE)
def test_revise(text: str, guidance: str) -> None:
    assert read_review(text) == Reading(certified=False, readable=True, guidance=guidance)


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_says_neither_or_both_is_unreadable_and_all_of_it_guidance(text: str) -> None:
    assert read_review(text) == Reading(certified=False, readable=False, guidance=text.strip())
