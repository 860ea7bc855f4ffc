"""Does the reward still mean what it should? A canary beside it, and the length of the teachings.

The canary is a set of held-out tasks that the policy is measured on now and then by a verifier that
the reward doesn't use. Reward and canary rise together while the teacher learns to teach. A reward
that rises without the canary is being earned some other way::

    alarm  =  rise > 0.05  and  rise > 3 errors of the rise
          and rise - change > 2 errors of the difference  and  change < rise / 2
          and canary, late < 0.98

*rise* is of the reward and *change* of the canary, *late* against *early*: the last third of the
looks against the first third, at least two each. The part that drives the rise is the one whose
weighted mean rose most; the weighted means add up to the reward.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pvariance

CLEAR = 3.0
"""Standard errors that a rise of the reward must have."""
APART = 2.0
"""Standard errors that the canary must stay behind it."""
SMALLEST_RISE = 0.05
_FEWEST = 2
_CEILING = 0.98
_FIRST_STEPS = 10
LONG = 2.0
"""Times the length of the first teachings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryReading:
    """One look at the canary, and the steps since the one before.

    Example: twenty steps, of which two are shown:
        >>> look = CanaryReading(step=20, canary=0.5, num_tasks=32, rewards=(0.31, 0.35),
        ...             weighted={"uplift": 0.3, "dense": 0.03})
    """

    step: int
    canary: float
    """Share of the canary's tasks that the student gets right when taught."""
    num_tasks: int
    rewards: tuple[float, ...]
    """Mean reward of each step."""
    weighted: Mapping[str, float]
    """What each part added to the reward, mean over the steps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Divergence:
    """A reward that rises without the canary."""

    rise: float
    canary: float
    """Its change."""
    part: str
    """The part that rose most."""
    share: float
    """Its share of the rise."""

    def __str__(self) -> str:
        return (
            f"reward rose by {self.rise:.3f} but the canary changed by {self.canary:+.3f}; "
            f"{self.share:.0%} of the rise is the part '{self.part}'"
        )


def divergence(looks: Sequence[CanaryReading]) -> Divergence | None:
    """Return what is wrong with a reward, None where nothing is, or it can't be told yet."""
    size = max(_FEWEST, len(looks) // 3)
    if len(looks) < 2 * size:
        return None
    early, late = looks[:size], looks[-size:]
    before, after = _rewards(early), _rewards(late)
    rise = fmean(after) - fmean(before)
    error = math.sqrt(pvariance(before) / len(before) + pvariance(after) / len(after))
    canary, before_canary = (fmean(look.canary for look in part) for part in (late, early))
    change = canary - before_canary
    noise = math.sqrt(error**2 + _variance(early, before_canary) + _variance(late, canary))
    if rise <= max(SMALLEST_RISE, CLEAR * error) or canary >= _CEILING:
        return None
    if rise - change <= APART * noise or change >= rise / 2:
        return None
    names = {name for look in looks for name in look.weighted}
    rises = {name: _mean(late, name) - _mean(early, name) for name in sorted(names)}
    part = max(rises, key=lambda name: rises[name])
    return Divergence(rise=rise, canary=change, part=part, share=rises[part] / rise)


def verbosity(lengths: Sequence[float]) -> float:
    """Return how many times as long teachings are as in the first steps; 1 until there are more.

    Args:
        lengths: Mean length of a teaching in every step, in tokens.
    """
    if len(lengths) < 2 * _FIRST_STEPS:
        return 1.0
    first = fmean(lengths[:_FIRST_STEPS])
    return fmean(lengths[-_FIRST_STEPS:]) / first if first else 1.0


def is_wordy(lengths: Sequence[float], uplifts: Sequence[float]) -> bool:
    """Tell whether teachings have become much longer without becoming better."""
    if verbosity(lengths) < LONG:
        return False
    return fmean(uplifts[-_FIRST_STEPS:]) <= fmean(uplifts[:_FIRST_STEPS])


def _rewards(looks: Sequence[CanaryReading]) -> list[float]:
    return [reward for look in looks for reward in look.rewards]


def _variance(looks: Sequence[CanaryReading], share: float) -> float:
    """Return the variance of the canary's mean over looks, as of so many draws."""
    return share * (1 - share) / max(1, sum(look.num_tasks for look in looks))


def _mean(looks: Sequence[CanaryReading], name: str) -> float:
    return fmean(look.weighted.get(name, 0.0) for look in looks)
