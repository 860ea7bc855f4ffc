"""Lessons to the numbers that say how teaching goes; rates are shares from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atlas.environments.metrics import mean, part
from atlas.rewards.leaks.find import LEAK_KINDS
from atlas.types import Attempt, Lesson, Review


def teaching_metrics(lessons: Sequence[Lesson]) -> Mapping[str, float]:
    """Return the means over a step's lessons."""
    # Of accuracy and uplift only where both answers could be told.
    told = [lesson for lesson in lessons if "uplift" in lesson.score.parts]
    alone, uplift = mean(one.alone.right for one in told), mean(part(told, "uplift"))
    return {
        "train/uplift": uplift,
        "train/accuracy_alone": alone,
        "train/accuracy_taught": alone + uplift,
        "train/non_degrade_rate": 1 - mean(part(lessons, "degraded")),
        "train/leak_rate": mean(part(lessons, "leaked")),
        **{
            f"train/leak_rate/{kind}": mean(
                one.score.parts.get(f"leak_{kind}", 0.0) for one in lessons
            )
            for kind in LEAK_KINDS
        },
        "train/dense": mean(part(lessons, "dense")),
        "train/attempt_truncated_share": mean(
            one.attempt.share(lambda said: not said.finished) for one in lessons
        ),
        "train/untagged": mean(float(one.teaching.withheld == "untagged") for one in lessons),
        "train/attempt_unfinished_thoughts": mean(
            float(bool(one.attempt.withheld)) for one in lessons
        ),
        "train/approach_unfinished_thoughts": mean(
            float(bool(one.approach.withheld)) for one in lessons
        ),
        "train/teaching_tokens": mean(one.teaching.num_tokens for one in lessons),
        "train/attempt_tokens": mean(one.attempt.tokens for one in lessons),
        **_acts([one.attempt for one in lessons]),
        **_verdicts([review for one in lessons for review in one.reviews]),
    }


def _acts(attempts: Sequence[Attempt]) -> Mapping[str, float]:
    """Return how students act with tools, and how alike their attempts are; nothing for others."""
    acting = [one.turns for one in attempts if one.turns]
    calls = [call for turns in acting for turn in turns for call in turn.calls]
    several = [one.spread for one in attempts if len(one.told) > 1]
    return {
        **({"train/attempt_spread": mean(several)} if several else {}),
        **(
            {
                "train/student_turns": mean(float(len(turns)) for turns in acting),
                "train/tool_calls": len(calls) / len(acting),
                "train/tool_failures": mean(float(call.failed) for call in calls),
            }
            if acting
            else {}
        ),
    }


def _verdicts(reviews: Sequence[Review]) -> Mapping[str, float]:
    """Return how a verifying teacher judges; nothing for one that only plans."""
    if not reviews:
        return {}
    told = [review for review in reviews if review.true is not None]
    return {
        "train/verdict_accuracy": mean(float(bool(review.true)) for review in told),
        "train/certified_share": mean(float(review.certified) for review in reviews),
        "train/verdict_unreadable": mean(float(not review.readable) for review in reviews),
    }
