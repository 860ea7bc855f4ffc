"""Paired outcomes in one line, for tests."""

from __future__ import annotations

from atlas.types import Outcome, PairedOutcome, Task


def outcome(correct: bool, tokens: int = 10, *, done: bool = True, text: str = "") -> Outcome:
    return Outcome(text=text, correct=correct, num_tokens=tokens, finished=done, parsed=done)


def pair(
    number: int,
    alone: Outcome,
    taught: Outcome,
    *,
    arm: str = "grpo",
    leaked: bool = False,
    teaching_tokens: int = 5,
    family: str = "chain_sum",
) -> PairedOutcome:
    return PairedOutcome(
        task=Task(question=f"Question {number}", answer=str(number), family=family),
        arm=arm,
        alone=alone,
        taught=taught,
        approach="From left to right.",
        teaching=f"Teaching {number}",
        num_teaching_tokens=teaching_tokens,
        leaked=leaked,
    )


def arm_of(arm: str, *, gained: int, lost: int, both: int, neither: int) -> list[PairedOutcome]:
    """Return pairs by how many tasks were gained, lost, right twice and wrong twice, in turn."""
    kinds = [(False, True)] * gained + [(True, False)] * lost
    kinds += [(True, True)] * both + [(False, False)] * neither
    return [
        pair(number, outcome(alone), outcome(taught), arm=arm)
        for number, (alone, taught) in enumerate(kinds)
    ]
