"""How a verifying teacher judges: claims on its first verdict about each task.

Input: reviewed lessons, one a task. Output: intervals by claim, in percent. With ``y`` = the
attempt that was read is right, ``z`` = it was certified::

    precision   share of z with y          recall   share of y with z
    accuracy    share with y == z          certified   share with z

All are Wilson intervals; attempts that the verifier could not tell about are left out. Of two arms
the accuracies are held against each other task by task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atlas.evaluation.stats import Interval, paired_bootstrap, wilson
from atlas.types import Lesson

VERDICT_LABELS: Mapping[str, str] = {
    "verdict_accuracy": "Verdicts that are true",
    "certify_precision": "Right, of the attempts that were certified",
    "certify_recall": "Certified, of the attempts that were right",
    "certified_share": "Attempts that were certified",
    "verdict_unreadable": "Verdicts that couldn't be read",
}
"""Every claim by name, in the order of the table."""


def verdict_rates(lessons: Sequence[Lesson]) -> dict[str, tuple[Interval | None, int]]:
    """Return the interval of each claim, and on how many lessons it was measured.

    Args:
        lessons: Those without a review are left out; where there is none, nothing is returned.
    """
    first = [lesson.reviews[0] for lesson in lessons if lesson.reviews]
    told = [review for review in first if review.true is not None]
    if not first:
        return {}
    certified = [review for review in told if review.certified]
    right = [review for review in told if review.attempt.correct]
    counted = {
        "verdict_accuracy": (sum(bool(review.true) for review in told), len(told)),
        "certify_precision": (sum(bool(review.true) for review in certified), len(certified)),
        "certify_recall": (sum(review.certified for review in right), len(right)),
        "certified_share": (sum(review.certified for review in first), len(first)),
        "verdict_unreadable": (sum(not review.readable for review in first), len(first)),
    }
    return {
        name: (wilson(hits, num).scaled(100) if num else None, num)
        for name, (hits, num) in counted.items()
    }


def verdict_gain(pairs: Sequence[tuple[Lesson, Lesson]]) -> Interval | None:
    """Return how many more first verdicts of one arm are true than of another, in points.

    Args:
        pairs: The two arms' lessons on each task; those without two verdicts that can be told true
            or false are left out. None is returned where no pair is left.
    """
    both = [
        (ours.reviews[0].true, theirs.reviews[0].true)
        for ours, theirs in pairs
        if ours.reviews and theirs.reviews
    ]
    told = [
        float(ours) - float(theirs)
        for ours, theirs in both
        if ours is not None and theirs is not None
    ]
    return paired_bootstrap(told).scaled(100) if told else None
