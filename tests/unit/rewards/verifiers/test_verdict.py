"""Right, wrong and undecidable answers, by verifier: none may be taken for another.

``pairs.jsonl`` has a line for each reference, with its answers.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from atlas.rewards.verifiers.registry import VERIFIERS
from atlas.types import Task

LINES = [
    json.loads(line)
    for line in Path(__file__).with_name("pairs.jsonl").read_text("utf-8").splitlines()
]
SCORES = {"right": 1.0, "wrong": 0.0, "abstain": None}
COMPARING = ("exact", "json_schema", "math", "numeric", "reference", "regex")


def misjudged(line: dict[str, Any]) -> list[str]:
    """Return the answers of a line that get another verdict than theirs."""
    task = Task(
        question="?",
        answer=line["reference"],
        family=line["verifier"],
        metadata=line.get("metadata", {}),
    )
    return [
        f"{line['verifier']}: {answer!r} for {line['reference']!r} is {wanted}: {found}"
        for wanted, score in SCORES.items()
        for answer in line.get(wanted, ())
        if (found := VERIFIERS[line["verifier"]]([task], [answer])[0]).score != score
    ]


@pytest.mark.parametrize("verifier", COMPARING)
def test_answers_get_their_verdicts(verifier: str) -> None:
    wrong = [said for line in LINES if line["verifier"] == verifier for said in misjudged(line)]
    assert not wrong, "\n".join(wrong)


def test_the_table_has_both_directions_of_each_verifier() -> None:
    counts = Counter(
        (line["verifier"], wanted)
        for line in LINES
        for wanted in SCORES
        for _ in line.get(wanted, ())
    )
    assert min(counts[name, wanted] for name in COMPARING for wanted in ("right", "wrong")) >= 10
    assert min(sum(counts[name, w] for w in SCORES) for name in ("math", "numeric")) >= 300


def test_a_wrong_table_is_noticed() -> None:
    line = {"verifier": "numeric", "reference": "5", "right": ["6"], "wrong": ["5"]}
    assert len(misjudged(line)) == 2
