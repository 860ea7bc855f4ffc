"""A run's curves -> whether each step of the guide succeeded, by the guide's own ranges.

Input: the curves of a stage and its bounds (``goal_…`` of its configuration). Output: one `Goal` a
mark of success, each with the measured number, what would be healthy, and, where it isn't, what to
do. A number is the mean of the last logged steps; a trend the last third minus the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, Literal

from atlas.config.grammar.schema import keys_of
from atlas.config.parts.goals import GoalsConfig, LossGoalsConfig, TeachingGoalsConfig

Curve = tuple[tuple[float, float], ...]
"""(step, value), by rising step."""
Curves = Mapping[str, Curve]
State = Literal["met", "missed", "unknown"]

LAST: Final = 20
"""Logged steps that a number is the mean of."""
MARKS: Final[Mapping[State, str]] = {"met": "✓", "missed": "✗", "unknown": "–"}
_MOVED: Final = 0.02
"""A reward that changed by less has stayed where it was."""
_ALL_RIGHT: Final = 0.98
"""Share of right answers from which on nothing is left to gain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """One mark of success, and how the run stands to it."""

    name: str
    value: str
    healthy: str
    state: State
    what: str = ""
    """What is wrong, with the number; empty where nothing is."""
    advice: str
    """What to do where something is."""
    metric: str = ""
    """What was looked at."""
    at_end: bool = False
    """Whether what is wrong may yet come right as the training goes on."""


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


def noise(curve: Curve) -> float:
    """Return two standard errors of `change`, from how much neighbours differ.

    A mean over few tasks jumps from step to step; what a trend adds to neighbours is little.
    """
    third = len(curve) // 3
    if third < 2:
        return 0.0
    squares = [(after[1] - before[1]) ** 2 / 2 for before, after in pairwise(curve)]
    return 2 * math.sqrt(2 * sum(squares) / len(squares) / third)


def all_right(curves: Curves) -> bool:
    """Tell whether so many answers are right that nothing is left to learn."""
    names = ("train/accuracy_taught", "train/accuracy")
    return any(tail_mean(curves[name]) >= _ALL_RIGHT for name in names if curves.get(name))


def bounds_in(stage: str, settings: Mapping[str, Any]) -> GoalsConfig:
    """Return the bounds of a stage; those that its settings don't name have their defaults.

    Raises:
        AtlasError: One of them isn't a number that it can be.
    """
    config = TeachingGoalsConfig if stage == "grpo" else LossGoalsConfig
    if stage in ("pretrain", "base_model") or settings.get("logp_reduction") == "sum":
        config = GoalsConfig  # the guide's bound is of a mean over tokens, of what it trains
    return config(**{name: settings[name] for name in keys_of(config) if name in settings})


def goals_of(stage: str, curves: Curves, bounds: GoalsConfig) -> tuple[Goal, ...]:
    """Return the goals of a stage whose numbers were logged, in the order of mending.

    Args:
        stage: ``sft``, ``grpo``, ``pretrain`` or ``ranked``.
        curves: By metric name.
        bounds: As `bounds_in` returns them.
    """
    return tuple(
        replace(found, metric=metric)
        for metric, goal in _GOALS.get(stage, ())
        if curves.get(metric) and (found := goal(curves[metric], curves, bounds)) is not None
    )


def goal_lines(goals: tuple[Goal, ...]) -> list[str]:
    """Return the goals as aligned lines, each with a tick or a cross."""
    widths = [max((len(getattr(one, name)) for one in goals), default=0) for name in _SHOWN]
    return [
        f"{MARKS[one.state]} {one.name:<{widths[0]}}  {one.value:>{widths[1]}}  ({one.healthy})"
        for one in goals
    ]


_SHOWN: Final = ("name", "value")


def _loss(curve: Curve, _: Curves, bounds: GoalsConfig) -> Goal | None:
    if not isinstance(bounds, LossGoalsConfig):
        return None
    return _at_most(
        "loss, nats a token",
        tail_mean(curve),
        bounds.goal_loss,
        what="training loss {value:.2f}; below {most:g} is healthy",
        advice="train longer or raise learning_rate; if it doesn't fall at all, look at the data",
        at_end=True,
    )


def _grad_norm(curve: Curve, _: Curves, bounds: GoalsConfig) -> Goal | None:
    return _at_most(
        "gradient norm",
        tail_mean(curve),
        bounds.goal_grad_norm,
        what="gradient norm {value:.1f}; below {most:g} is healthy",
        advice="lower learning_rate or max_grad_norm, or raise warmup_ratio",
    )


def _at_most(
    name: str, value: float, most: float, *, what: str, advice: str, at_end: bool = False
) -> Goal:
    missed = value > most
    return Goal(
        name=name,
        value=f"{value:.3g}",
        healthy=f"below {most:g}",
        state="missed" if missed else "met",
        what=what.format(value=value, most=most) if missed else "",
        advice=advice,
        at_end=at_end,
    )


def _falling(curve: Curve, _: Curves, __: GoalsConfig) -> Goal | None:
    moved = change(curve)
    told = len(curve) >= 6  # as for `change`
    missed = told and moved >= 0
    return Goal(
        name="loss, last third minus first",
        value=f"{moved:+.3g}" if told else "few steps",
        healthy="falling",
        state="missed" if missed else "met" if told else "unknown",
        what=f"the loss doesn't fall ({moved:+.2f} from the first third to the last)"
        if missed
        else "",
        advice="look at the data, then at learning_rate; atlas selftest checks the implementation",
    )


def _kl(curve: Curve, curves: Curves, bounds: GoalsConfig) -> Goal | None:
    assert isinstance(bounds, TeachingGoalsConfig)
    low, high, collapse = bounds.goal_kl_low, bounds.goal_kl_high, bounds.goal_kl_collapse
    value = tail_mean(curve)
    what, advice = "", "raise beta (0.06, 0.1), or lower learning_rate"
    if value > high:
        worse = f"above {collapse:g} suggests collapse"
        what = f"KL {value:.1f} a teaching; {low:g} to {high:g} is healthy, {worse}"
    elif value < low and not all_right(curves):
        what = f"KL {value:.2g} a teaching: the policy has hardly moved; from {low:g} on is healthy"
        advice = (
            "train longer, raise learning_rate (the guide, of whole weights: 1e-6), or lower beta "
            "(the guide: 0.02); where groups are dead or steps were skipped, mend that first"
        )
    return Goal(
        name="KL, nats a sequence",
        value=f"{value:.2g}",
        healthy=f"{low:g} to {high:g}",
        state="missed" if what else "met",
        what=what,
        advice=advice,
        at_end=value < low,
    )


def _not_worse(curve: Curve, _: Curves, bounds: GoalsConfig) -> Goal | None:
    assert isinstance(bounds, TeachingGoalsConfig)
    healthy, least = bounds.goal_non_degradation, bounds.goal_non_degradation_least
    value = tail_mean(curve)
    below = f", below {least:.0%} something is wrong" if value < least else ""
    missed = value < healthy
    return Goal(
        name="answers no worse than alone",
        value=f"{100 * value:.1f} %",
        healthy=f"from {100 * healthy:g} % on",
        state="missed" if missed else "met",
        what=f"only {value:.1%} of the answers are as good as alone; from {healthy:.0%} on is "
        f"healthy{below}"
        if missed
        else "",
        advice="read teachings of degraded tasks in rollouts/; raise reward_degrade_penalty",
        at_end=value >= least,
    )


def _rising(name: str, fall: str, advice: str) -> Callable[..., Goal]:
    """Return the goal that a score rises; of a fall, and of a plateau of many steps, it speaks.

    Neither is told from fewer steps than it takes to see it through the noise.
    """

    def goal(curve: Curve, curves: Curves, bounds: GoalsConfig) -> Goal:
        assert isinstance(bounds, TeachingGoalsConfig)
        moved, num_steps = change(curve), len(curve)
        least = max(_MOVED, noise(curve))
        plateau = abs(moved) <= _MOVED and num_steps >= bounds.goal_plateau_steps
        state: State = "met" if moved > least or all_right(curves) else "unknown"
        what = ""
        if moved < -least:
            state, what = "missed", f"{fall} ({moved:+.2f} from the first third to the last)"
        elif plateau and state == "unknown":
            state = "missed"
            what = f"{name} has not risen over {num_steps} logged steps ({moved:+.3f}): a plateau"
        return Goal(
            name=f"{name}, last third minus first",
            value=f"{moved:+.2g}" if num_steps >= 6 else "few steps",
            healthy="rising",
            state=state,
            what=what,
            advice=advice,
            at_end=plateau,
        )

    return goal


_reward = _rising(
    "reward",
    "the reward falls",
    "look whether the tasks have a signal (accuracy_alone near 100 % leaves nothing to teach, dead "
    "groups teach nothing); then learning_rate: lower (1e-7) where it falls, with beta=0.1, and "
    "higher (1e-6) where it doesn't move",
)
_judged = _rising(
    "rim_rewards",
    "rim_rewards, the judges' score, falls",
    "read teachings and rationales in rollouts/ before and after; see that the judges' model is "
    "the same, and raise beta",
)
_GOALS: Final[Mapping[str, tuple[tuple[str, Callable[..., Goal | None]], ...]]] = {
    "sft": (("train/loss", _loss), ("train/grad_norm", _grad_norm)),
    "grpo": (
        ("train/kl", _kl),
        ("train/grad_norm", _grad_norm),
        ("train/non_degrade_rate", _not_worse),
        ("train/reward", _reward),
        ("rim_rewards", _judged),
    ),
    "pretrain": (("train/loss", _falling), ("train/grad_norm", _grad_norm)),
    "base_model": (("train/loss", _falling), ("train/grad_norm", _grad_norm)),
    "ranked": (
        ("train/loss", _loss),
        ("train/loss", _falling),
        ("train/grad_norm", _grad_norm),
    ),
}
