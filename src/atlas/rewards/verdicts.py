r"""The reward of a verifying teacher: uplift of the last attempt, and how true its verdicts are.

Input: a reviewed lesson with the score of its uplift. Output: its whole `Score`.

    reward = uplift of the last attempt over the first, as of a teaching (`uplift.py`)
           + verdict_weight * mean over the reviews of (1 where the verdict is true, else -1)

- Certifying an attempt costs the tokens of the verdict and nothing else, so that it saves what a
  second attempt would take; sending back a right attempt that then goes wrong costs what degrading
  does.
- A verdict is true where it is what the verifier says. An unreadable one counts as *revise*.
- With a leak nothing is earned by verdicts, and what is lost stays lost.
"""

from __future__ import annotations

from dataclasses import replace

from atlas.types import Lesson, Score


def with_verdicts(lesson: Lesson, score: Score, weight: float) -> Score:
    """Return a lesson's score with what its verdicts are worth.

    Args:
        lesson: Reviewed at least once.
        score: Of its uplift.
        weight: ``verdict_weight``, in units of one task solved.
    """
    told = [review.true for review in lesson.reviews if review.true is not None]
    unreadable = sum(not review.readable for review in lesson.reviews) / len(lesson.reviews)
    certified = float(lesson.reviews[-1].certified)
    parts = {**score.parts, "verdict_unreadable": unreadable, "certified": certified}
    if score.value is None or not told:
        return replace(score, parts=parts)
    verdict = sum(1.0 if true else -1.0 for true in told) / len(told)
    earned = weight * (min(verdict, 0.0) if lesson.leaked else verdict)
    return replace(
        score,
        value=score.value + earned,
        parts={**parts, "verdict": verdict},
        weighted={**score.weighted, "verdict": earned},
    )
