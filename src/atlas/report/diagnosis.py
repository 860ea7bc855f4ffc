"""A run's curves -> what is wrong with it, causes before symptoms.

Input: the curves of a stage, as `run_files` reads them. Output: one `Finding` a rule that applies,
with the number that made it apply and what to do. A rule looks at the mean of the last logged
steps; rules are in the order in which things should be mended: raising ``beta`` helps no reward
whose groups are all alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from atlas.report.run_files import Curve

LAST: Final = 20
"""Logged steps that a rule looks at."""

Curves = Mapping[str, Curve]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong."""

    what: str
    """With the measured number."""
    advice: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """When something is wrong, and what to do about it."""

    metric: str
    is_wrong: Callable[[float], bool]
    what: str
    """A format string of ``value``."""
    advice: str
    of: Callable[[Curve], float] | None = None
    """What is looked at: the mean of the last steps, unless this says otherwise."""


def tail_mean(curve: Curve) -> float:
    """Return the mean of the last steps."""
    values = [value for _, value in curve[-LAST:]]
    return sum(values) / len(values)


def change(curve: Curve) -> float:
    """Return the mean of the last third minus that of the first; 0 for fewer than six steps."""
    third = len(curve) // 3
    if third < 2:
        return 0.0
    first, last = curve[:third], curve[-third:]
    return sum(value for _, value in last) / third - sum(value for _, value in first) / third


GRPO_RULES: Final = (
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
        is_wrong=lambda value: value > 0.5,
        what="{value:.0%} of the groups are dead: their rewards are all equal, or missing",
        advice="take tasks that the student gets right sometimes, raise temperature or "
        "num_generations; beta and learning_rate can't help where nothing is learned from",
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
        metric="train/kl",
        is_wrong=lambda value: value > 5.0,
        what="KL {value:.1f} a teaching; the guide's band is 0.5 to 2, above 5 a collapse",
        advice="raise beta (0.06, 0.1), or lower learning_rate",
    ),
    Rule(
        metric="train/grad_norm",
        is_wrong=lambda value: value > 5.0,
        what="gradient norm {value:.1f}",
        advice="lower learning_rate, or max_grad_norm",
    ),
    Rule(
        metric="train/non_degrade_rate",
        is_wrong=lambda value: value < 0.9,
        what="only {value:.0%} of the answers are as good as alone; above 95 % is healthy",
        advice="read teachings of degraded tasks in rollouts/; raise reward_degrade_penalty",
    ),
    Rule(
        metric="train/reward",
        is_wrong=lambda value: value < -0.02,
        what="the reward falls ({value:+.2f} from the first third to the last)",
        advice="lower learning_rate (1e-7), raise beta (0.1), and look whether the tasks have a "
        "signal: accuracy_alone near 100 % leaves nothing to teach",
        of=change,
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
        metric="train/loss",
        is_wrong=lambda value: value > 1.5,
        what="training loss {value:.2f}; below 1.5 is healthy",
        advice="train longer or raise learning_rate; if it doesn't fall at all, look at the data",
    ),
    Rule(
        metric="train/grad_norm",
        is_wrong=lambda value: value > 5.0,
        what="gradient norm {value:.1f}; below 5 is healthy",
        advice="lower learning_rate, or raise warmup_ratio",
    ),
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


def diagnose(stage: str, curves: Curves) -> tuple[Finding, ...]:
    """Return what is wrong with a stage, causes first; empty where nothing is.

    Args:
        stage: ``sft`` or ``grpo``.
        curves: By metric name. A metric that wasn't logged finds nothing.
    """
    findings = []
    for rule in RULES[stage]:
        curve = curves.get(rule.metric)
        if not curve:
            continue
        value = (rule.of or tail_mean)(curve)
        if rule.is_wrong(value):
            findings.append(Finding(what=rule.what.format(value=value), advice=rule.advice))
    return tuple(findings)
