"""What calls came to, as metrics: of one process, and of several that train together.

Input: a `Tally` before and one now. Output: metrics under the name of who asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from atlas.endpoint.budget import Usage
from atlas.endpoint.service import ANSWERED, CACHED

_COUNTED = ("judges/", "student/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """What was spent and how calls ended, since the run began."""

    usage: Usage = field(default_factory=Usage)
    outcomes: Counter[str] = field(default_factory=Counter)


def call_metrics(owner: str, before: Tally, now: Tally) -> dict[str, float]:
    """Return what happened between two tallies.

    Args:
        owner: What the metrics' names begin with.
    """
    counts = Counter(now.outcomes)
    counts.subtract(before.outcomes)
    num_asked = sum(counts.values()) - counts[CACHED]
    metrics: dict[str, float] = {}
    if num_asked:
        metrics["abstention_rate"] = 1 - counts[ANSWERED] / num_asked
    for kind, count in counts.items():
        if count and kind not in (ANSWERED, CACHED):
            metrics[f"abstained/{kind}"] = float(count)
    spent = now.usage - before.usage
    metrics |= {
        "cached": float(counts[CACHED]),
        "calls": float(spent.calls),
        "retries": float(spent.retries),
        "input_tokens": float(spent.input_tokens),
        "output_tokens": float(spent.output_tokens),
        "cost": spent.cost,
        "cost_total": now.usage.cost,
    }
    return {f"{owner}/{name}": value for name, value in metrics.items()}


def joint_metrics(shares: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return what ranks found, each metric by those that have it: counts summed, else the mean.

    Args:
        shares: Of each rank.
    """
    names = dict.fromkeys(name for share in shares for name in share)
    found = {name: [share[name] for share in shares if name in share] for name in names}
    return {name: sum(f) if _counts(name) else fmean(f) for name, f in found.items()}


def _counts(name: str) -> bool:
    return name.startswith(_COUNTED) and not name.endswith("_rate")
