"""Lessons on held-out tasks in one line, for tests."""

from __future__ import annotations

from atlas.types import Attempt, Leak, Lesson, Task, Utterance, Verdict


def outcome(
    correct: bool, tokens: int = 10, *, done: bool = True, text: str = "", rule: str = ""
) -> Attempt:
    verdict = Verdict(score=float(correct), parsed=done, rule=rule)
    return Attempt(text=text, num_tokens=tokens, finished=done, verdict=verdict)


UNTOLD = Attempt(num_tokens=10, verdict=Verdict(score=None, parsed=True, reason="took too long"))
"""An attempt that the verifier could not tell about."""


def pair(
    number: int,
    alone: Attempt,
    taught: Attempt,
    *,
    arm: str = "grpo",
    leaked: bool = False,
    teaching_tokens: int = 5,
    family: str = "chain_sum",
) -> Lesson:
    return Lesson(
        task=Task(question=f"Question {number}", answer=str(number), family=family),
        arm=arm,
        alone=alone,
        attempt=taught,
        approach=Utterance(text="From left to right."),
        teaching=Utterance(text=f"Teaching {number}", num_tokens=teaching_tokens),
        leak=Leak(kind="recorded", reason="the evaluation found one") if leaked else None,
    )


def arm_of(arm: str, *, gained: int, lost: int, both: int, neither: int) -> list[Lesson]:
    """Return pairs by how many tasks were gained, lost, right twice and wrong twice, in turn."""
    kinds = [(False, True)] * gained + [(True, False)] * lost
    kinds += [(True, True)] * both + [(False, False)] * neither
    return [
        pair(number, outcome(alone), outcome(taught), arm=arm)
        for number, (alone, taught) in enumerate(kinds)
    ]
