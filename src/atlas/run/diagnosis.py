"""A run's curves -> what is wrong with it, causes before symptoms.

Input: the curves of a stage, as `run_files` reads them. Output: one `Finding` a rule that applies,
with the number that made it apply and what to do. A rule looks at the mean of the last logged
steps; rules are in the order in which things should be mended, and before the marks of success
(goals.py): raising ``beta`` helps no reward whose groups are all alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from atlas.config.parts.goals import GoalsConfig
from atlas.run.goals import Curve, Curves, all_right, bounds_in, goals_of, tail_mean


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong."""

    rule: str
    """The metric, or the mark of success, that was looked at."""
    what: str
    """With the measured number."""
    advice: str
    at_end: bool = False
    """Whether it says something of a training that is over only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """When something is wrong, and what to do about it."""

    metric: str
    is_wrong: Callable[[float], bool]
    what: str
    """A format string of ``value``."""
    advice: str
    of: Callable[[Curve], float] = tail_mean
    """What is looked at."""
    less: str = ""
    """A metric that is taken off: the share in which what looks wrong is none."""
    of_the_rest: bool = False
    """Whether the share is one of what is left when that is taken off."""
    unless: str = ""
    """The rule that says it already, where it finds something."""


GRPO_RULES: Final = (
    Rule(
        metric="train/kl",
        is_wrong=lambda value: value > 50,
        what="KL {value:.0f} a teaching: little of the first model is left, and what else is wrong "
        "may come of that",
        advice="go back to a checkpoint before it rose, and lower learning_rate",
    ),
    Rule(
        metric="train/abstained_share",
        is_wrong=lambda value: value > 0.2,
        what="{value:.0%} of the teachings could not be scored",
        advice="see why in rollouts/ (column reason): a judge that fails, or a verifier that "
        "doesn't fit the tasks",
    ),
    Rule(
        metric="train/unfinished_thoughts",
        is_wrong=lambda value: value > 0.1,
        what="{value:.0%} of the teachings are thoughts that didn't end",
        advice="raise max_new_tokens, or let the teacher think less: "
        "chat_template_kwargs={enable_thinking: false}, or reasoning_effort for gpt-oss",
    ),
    Rule(
        metric="train/attempt_unfinished_thoughts",
        is_wrong=lambda value: value > 0.1,
        what="{value:.0%} of the student's answers are thoughts that didn't end",
        advice="raise student_max_new_tokens, or set student_chat_template_kwargs",
    ),
    Rule(
        metric="train/approach_unfinished_thoughts",
        is_wrong=lambda value: value > 0.1,
        what="{value:.0%} of the student's approaches are thoughts that didn't end: the teacher is "
        "shown none",
        advice="raise approach_max_new_tokens, or set student_chat_template_kwargs",
    ),
    Rule(
        metric="train/truncated_share",
        is_wrong=lambda value: value > 0.25,
        what="{value:.0%} of the teachings were cut at max_new_tokens",
        advice="raise max_new_tokens, or set overlong_buffer; what is cut teaches nothing",
    ),
    Rule(
        metric="train/attempt_truncated_share",
        is_wrong=lambda value: value > 0.25,
        what="{value:.0%} of the student's answers were cut",
        advice="raise student_max_new_tokens; an answer that is cut counts as wrong",
    ),
    Rule(
        metric="train/dead_groups",
        less="train/dead_groups_right",
        is_wrong=lambda value: value > 0.5,
        what="{value:.0%} of the groups are dead, and not since all is right: their rewards are "
        "equal, or missing",
        advice="take tasks that the student gets right sometimes, raise temperature or "
        "num_generations; beta and learning_rate can't help where nothing is learned from",
    ),
    Rule(
        metric="train/dead_groups_equal",
        less="train/dead_groups_right",
        of_the_rest=True,
        unless="train/dead_groups",
        is_wrong=lambda value: value > 0.8,
        what="of the groups that aren't all right, {value:.0%} have equal rewards: the teachings "
        "of a group are alike",
        advice="raise temperature or num_generations",
    ),
    Rule(
        metric="train/leak_rate",
        is_wrong=lambda value: value > 0.1,
        what="{value:.0%} of the teachings give the answer away",
        advice="they earn nothing; if it rises, start from a checkpoint before it, or warm up on "
        "sessions without leaks",
    ),
    Rule(
        metric="train/mismatch_kl",
        is_wrong=lambda value: value > 0.01,
        what="the rollout engine's probabilities aren't the trainer's (KL {value:.3f} a token)",
        advice="use the same precision on both sides, and see that the served weights are current",
    ),
    Rule(
        metric="train/entropy",
        is_wrong=lambda value: value < 0.02,
        what="the teacher hardly varies any more ({value:.3f} nats a token)",
        advice="raise temperature or beta; groups of equal teachings are dead",
    ),
)
"""For a GRPO run."""

SFT_RULES: Final = (
    Rule(
        metric="eval/loss",
        is_wrong=lambda value: value > 0.02,
        what="the evaluation loss has risen by {value:.2f} above its lowest: overfitting",
        advice="fewer epochs, or more sessions",
        of=lambda curve: curve[-1][1] - min(value for _, value in curve),
    ),
)
"""For an SFT run."""

RULES: Final[Mapping[str, tuple[Rule, ...]]] = {"sft": SFT_RULES, "grpo": GRPO_RULES}
_NOTHING_LEFT: Final = frozenset({"train/dead_groups", "train/dead_groups_equal", "train/entropy"})
"""What is no illness where every answer is right: there is nothing to tell apart any more."""


def diagnose(stage: str, curves: Curves, bounds: GoalsConfig | None = None) -> tuple[Finding, ...]:
    """Return what is wrong with a stage, causes first; empty where nothing is.

    Args:
        stage: ``sft``, ``grpo``, ``pretrain`` or ``ranked``.
        curves: By metric name. A metric that wasn't logged finds nothing.
        bounds: Of the goals; None: the guide's.
    """
    findings: list[Finding] = []
    for rule in RULES.get(stage, ()):
        curve = curves.get(rule.metric)
        if not curve or (rule.metric in _NOTHING_LEFT and all_right(curves)):
            continue
        less = tail_mean(curves[rule.less]) if curves.get(rule.less) else 0.0
        value = rule.of(curve) - less
        if rule.of_the_rest and less < 1:
            value /= 1 - less
        if rule.is_wrong(value) and rule.unless not in {finding.rule for finding in findings}:
            what = rule.what.format(value=value)
            findings.append(Finding(rule=rule.metric, what=what, advice=rule.advice))
    told = {finding.rule for finding in findings}
    goals = goals_of(stage, curves, bounds or bounds_in(stage, {}))
    missed = [
        Finding(rule=goal.metric, what=goal.what, advice=goal.advice, at_end=goal.at_end)
        for goal in goals
        if goal.what and goal.metric not in told
    ]
    return (*findings, *missed)
