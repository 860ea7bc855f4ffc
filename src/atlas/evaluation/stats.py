"""Intervals for the claims: paired bootstrap for means and ratios, Wilson for rates.

Input: numbers of N independent pairs (one held-out task each). Output: an ``Interval``.

Percentile bootstrap (B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13):
draw N pairs with replacement, compute the statistic, repeat; the interval runs between the
``(1 - confidence) / 2`` quantiles of both ends. Drawing whole pairs keeps the two answers to one
task together, so what they have in common (a hard task is hard with and without teaching) cancels.

Wilson score interval (E. B. Wilson, Probable inference, the law of succession, and statistical
inference, JASA 22, 1927), with ``p = successes / trials`` and ``z`` the normal quantile::

    centre = (p + z²/2n) / (1 + z²/n)
    half   = z / (1 + z²/n) · sqrt(p (1 - p) / n + z²/4n²)

It stays within [0, 1] and doesn't shrink to nothing at 0 or n successes, where rates such as
non-degradation live. Shapes: ``N`` pairs, ``K`` columns, ``R`` resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

CONFIDENCE = 0.95
"""Coverage that every interval aims at."""
_DRAWS_PER_CHUNK = 1 << 20
"""Index draws held in memory at a time: 8 MB of int64, whatever N and R are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A measured value with its confidence interval, in the unit of the value.

    Example: 8 of 10 right:
        >>> interval = wilson(8, 10)
        >>> round(interval.value, 2), round(interval.low, 3), round(interval.high, 3)
        (0.8, 0.49, 0.943)
    """

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> Interval:
        """Return the interval in another unit; ``factor`` (> 0) converts, 100 for percent."""
        return Interval(value=self.value * factor, low=self.low * factor, high=self.high * factor)

    @property
    def is_finite(self) -> bool:
        """False where a ratio had a zero denominator in the sample or in too many resamples."""
        return all(math.isfinite(number) for number in (self.value, self.low, self.high))


def paired_bootstrap(values_N: ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Return the mean of paired differences with its percentile-bootstrap interval.

    Args:
        values_N: [N] one difference per pair, such as ``correct taught - correct alone``.
        resamples: R, how often N pairs are drawn.
        seed: Of the draws; the same arguments give the same interval on every machine.

    Raises:
        ValueError: ``values_N`` is empty, not one-dimensional or not finite, or an option is out
            of range.
    """
    values = _checked(values_N, "values_N")
    return bootstrap_of_means([values], lambda means: means[0], resamples=resamples, seed=seed)


def paired_bootstrap_saving(alone_N: ArrayLike, taught_N: ArrayLike) -> Interval:
    """Return the saving ``1 - Σ taught / Σ alone`` with its interval, resampling pairs.

    A ratio of sums weighs every token alike; the mean of the pairs' ratios would weigh every task
    alike and let one very short answer dominate.

    Args:
        alone_N: [N] tokens without teaching, each above zero.
        taught_N: [N] tokens with teaching, in the same order of tasks.

    Returns:
        The saving as a fraction (0.5 is half; negative where teaching costs tokens).

    Raises:
        ValueError: A column is empty, not finite or of another length, or ``alone_N`` holds a
            number that isn't above zero.
    """
    alone = _checked(alone_N, "alone_N")
    if alone.min() <= 0:
        raise ValueError(f"alone_N must be above zero everywhere, got {alone.min():g}")
    columns = [alone, _checked(taught_N, "taught_N")]
    return bootstrap_of_means(columns, lambda means: 1 - means[1] / means[0])


def bootstrap_of_means(
    columns_KN: Sequence[ArrayLike],
    statistic: Callable[[Any], Any],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return a function of column means with its percentile-bootstrap interval.

    Args:
        columns_KN: K columns of N numbers; row ``n`` of all of them belongs to pair ``n``.
        statistic: Maps the means, [K] or [K, R], to the value, scalar or [R]. It may divide by a
            mean: where that is zero the result isn't finite (``Interval.is_finite``), not an
            error.
        resamples: R, how often N pairs are drawn.

    Raises:
        ValueError: A column is empty, not finite or of another length than the first, or an
            option is out of range.
    """
    columns = [_checked(column, f"column {k}") for k, column in enumerate(columns_KN)]
    if len({len(column) for column in columns}) != 1:
        raise ValueError(f"columns differ in length: {[len(column) for column in columns]}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    data_KN = np.stack(columns)
    tail = (1 - CONFIDENCE) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(data_KN.mean(axis=1)))
        values_R = np.asarray(statistic(_resampled_means(data_KN, resamples, seed)))
        low, high = np.quantile(values_R, [tail, 1 - tail])
    return Interval(value=value, low=float(low), high=float(high))


def wilson(successes: float, trials: float) -> Interval:
    """Return the rate ``successes / trials`` with its Wilson score interval.

    Args:
        successes: Count, 0 to ``trials``.
        trials: Count, at least 1; what so many are worth, where they hang together.

    Returns:
        The rate as a fraction; the bounds lie within [0, 1] and are not centred on it.

    Raises:
        ValueError: ``trials`` is below 1, or ``successes`` isn't within it.
    """
    if trials < 1:
        raise ValueError(f"trials must be at least 1, got {trials}")
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must be within 0 and trials={trials}, got {successes}")
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    rate = successes / trials
    shrink = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / trials + (z / (2 * trials)) ** 2)
    # At 0 and n successes a bound equals 0 or 1 in exact arithmetic; rounding must not cross it.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return Interval(value=rate, low=low, high=high)


def clustered_wilson(shares_N: ArrayLike, samples: int = 1) -> Interval:
    """Return the mean of the tasks' shares with a Wilson interval that knows of the tasks.

    Several trials of one task are alike, so they are worth fewer than their number: by Kish's
    effective sample size (L. Kish, Survey Sampling, 1965) ``n = N p (1 - p) / variance``, which is
    N where every share is 0 or 1, and N times ``samples`` where the tasks don't differ.

    Args:
        shares_N: [N] of successes among the trials of a task.
        samples: Most trials of a task.

    Example: two tasks of four trials each say more than two trials, and less than eight:
        >>> wilson(6, 8).low > clustered_wilson([1.0, 0.5], 4).low > wilson(1.5, 2).low
        True

    Raises:
        ValueError: ``shares_N`` is empty, or holds what is no share.
    """
    shares = _checked(shares_N, "shares_N")
    num, rate = len(shares), float(shares.mean())
    if samples == 1 or not 0 < rate < 1:
        return wilson(float(shares.sum()), num)
    variance = float(shares.var())
    most = num * samples
    trials = min(most, num * rate * (1 - rate) / variance) if variance else most
    return wilson(rate * trials, trials)


def _resampled_means(data_KN: FloatArray, resamples: int, seed: int) -> FloatArray:
    """Return [K, R] column means of R draws of N rows with replacement."""
    num_rows = data_KN.shape[1]
    generator = np.random.default_rng(seed)
    chunk = max(1, _DRAWS_PER_CHUNK // num_rows)
    means_KR = np.empty((len(data_KN), resamples))
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        rows = generator.integers(num_rows, size=(size, num_rows))
        for k, column in enumerate(data_KN):
            means_KR[k, start : start + size] = column[rows].mean(axis=1)
    return means_KR


def _checked(values: ArrayLike, name: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} is empty: there is nothing to resample")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds a number that isn't finite")
    return array
