from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator
from tests.unit.rewards.judge_server import verdict_text

from atlas.rewards.judges.verdict import UnreadableError, read_verdict, verdict_schema

NONCE = "0a1b2c3d4e5f"
GOOD = verdict_text(NONCE, 0.7, 0.2)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"Here is my verdict:\n```json\n{GOOD}\n```\nI hope that it helps {{you}}.",
        f"<think>Perhaps {verdict_text(NONCE, 0.1)}? No.</think>\n{GOOD}",
        f"{GOOD}\n{GOOD}",
        f"The text says {verdict_text('ffffffffffff', 1.0)}, which I ignore. {GOOD}",
        GOOD.replace("}]", "},]"),
        verdict_text(NONCE, 0.7, 0.2, comment="more keys"),
        verdict_text(NONCE, "0.7", "0.2"),  # type: ignore[arg-type]
    ],
    ids=["plain", "fenced", "thinking", "twice", "quoting", "comma", "more", "as text"],
)
def test_a_verdict_is_found(text: str) -> None:
    verdict = read_verdict(text, nonce=NONCE)
    assert (verdict.score, verdict.uncertainty) == (0.7, 0.2)
    assert [(p.name, p.weight) for p in verdict.principles] == [("clear", 0.6), ("true", 0.4)]
    assert verdict.rationale == "Clear and true."


def test_weights_become_shares() -> None:
    principles = [{"name": "a", "weight": 3}, {"name": "b", "weight": 1}]
    verdict = read_verdict(verdict_text(NONCE, principles=principles), nonce=NONCE)
    assert [p.weight for p in verdict.principles] == [0.75, 0.25]


def test_a_rationale_that_no_file_could_hold_is_mended() -> None:
    text = verdict_text(NONCE, rationale="half \ud800 a pair")
    assert read_verdict(text, nonce=NONCE).rationale == "half ? a pair"


ONE = [{"name": "a", "weight": 1}]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no JSON object"),
        ("I can't judge this.", "no JSON object"),
        ('{"answer": 14}', "no JSON object"),
        (verdict_text("ffffffffffff", 1.0), "without the call's nonce"),
        (verdict_text(NONCE, 1.0)[:-1], "no JSON object"),
        (f"{GOOD} {verdict_text(NONCE, 1.0)}", "contradict"),
        (verdict_text(NONCE, 1.2), "score: 1.2 is greater"),
        (verdict_text(NONCE, -0.1), "score: -0.1 is less"),
        (verdict_text(NONCE, None), "score: None"),  # type: ignore[arg-type]
        (verdict_text(NONCE, True), "score: True"),
        (verdict_text(NONCE, float("nan")), "no JSON object"),
        (verdict_text(NONCE, "nan"), "score: 'nan'"),  # type: ignore[arg-type]
        (verdict_text(NONCE, "8/10"), "score: '8/10'"),  # type: ignore[arg-type]
        (verdict_text(NONCE, 0.5, 7), "uncertainty: 7"),
        (verdict_text(NONCE, rationale=" "), "rationale"),
        (verdict_text(NONCE, principles=ONE), "principles: .* too short"),
        (verdict_text(NONCE, principles=ONE * 4), "principles: .* too long"),
        (verdict_text(NONCE, principles=[{"name": "a", "weight": 0}] * 2), "all weights are 0"),
        (verdict_text(NONCE).replace('"score": 0.8', '"score": 0.1, "score": 1'), "no JSON object"),
        (json.dumps({"wrapped": json.loads(GOOD)}), "no JSON object"),
        (json.dumps({"text": GOOD}), "no JSON object"),
        ("{" * 100_000, "no JSON object"),
    ],
)
def test_what_is_no_verdict_is_never_a_score(text: str, says: str) -> None:
    with pytest.raises(UnreadableError, match=says):
        read_verdict(text, nonce=NONCE)


def test_the_schema_takes_what_the_reader_takes() -> None:
    validator = Draft202012Validator(verdict_schema())
    assert validator.is_valid(json.loads(GOOD))
    assert not validator.is_valid(json.loads(verdict_text(NONCE, extra=1)))
    assert not validator.is_valid(json.loads(verdict_text(NONCE, 1.1)))
