"""Report: the learning curves, as panels of lines that the page draws.

Input: metrics by stage and name of one run or several, and the bounds that each stage is held
against. Output: a `Panel` as JSON for every kind of panel whose metric was logged, with what is
healthy as a band or a line. Runs that differ in nothing but their seed are one line, their mean,
within the band from the lowest to the highest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from atlas.config.parts.goals import GoalsConfig
from atlas.run.goals import Curve

Unit = Literal["plain", "percent", "points", "seconds"]
_MOST_POINTS: Final = 2000
"""A line has; more than a screen can show would only make the page heavy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """What one chart shows."""

    title: str
    metrics: Mapping[str, str]
    """Metric name to label. One that ends in ``*`` is all that begin so, each by its own name."""
    note: str
    """One line under the title: how to read it."""
    stage: str = "grpo"
    unit: Unit = "plain"
    band: tuple[str, ...] = ()
    """Keys of the bounds: where the healthy range begins and ends, or the one line to keep to."""
    low: float | None = None
    high: float | None = None
    """The axis doesn't go beyond them."""


def _losses(stage: str, note: str, metrics: Mapping[str, str]) -> tuple[Panel, Panel]:
    goals = () if stage in ("pretrain", "base_model") else ("goal_loss",)
    norm = {"train/grad_norm": "before clipping"}
    return (
        Panel(title="Loss", stage=stage, metrics=metrics, note=note, band=goals),
        Panel(
            title="Gradient norm",
            stage=stage,
            metrics=norm,
            note="Of all gradients.",
            band=("goal_grad_norm",),
            low=0,
        ),
    )


_TRAINING: Final = {"train/loss": "training"}
PANELS: Final[tuple[Panel, ...]] = (
    *_losses("base_model", "Cross entropy per token.", _TRAINING),
    *_losses("pretrain", "Cross entropy per token of the corpus.", _TRAINING),
    *_losses(
        "ranked",
        "Likelihood weighted by preference, and the pairwise term.",
        {**_TRAINING, "train/preference_loss": "its first term"},
    ),
    *_losses(
        "sft",
        "Cross entropy per token of the teachings collected.",
        {**_TRAINING, "eval/loss": "held out"},
    ),
    Panel(
        title="Reward",
        metrics={"train/reward": "reward", "reward/*": ""},
        note="Mean over all teachings of a step, and what each part adds to it.",
    ),
    Panel(
        title="Uplift, points",
        metrics={"train/uplift": "uplift"},
        note="Right with this teaching minus right alone.",
        unit="points",
    ),
    Panel(
        title="Accuracy",
        metrics={
            **{"train/accuracy_taught": "taught", "train/accuracy_alone": "alone"},
            **{"train/accuracy": "the policy", "canary/accuracy*": ""},
        },
        note="On the training tasks of each step; canary: on tasks kept out.",
        unit="percent",
        low=0,
        high=1,
    ),
    Panel(
        title="Non-degradation",
        metrics={"train/non_degrade_rate": "not worse"},
        note="Share of teachings that left the student no worse.",
        unit="percent",
        band=("goal_non_degradation",),
        high=1,
    ),
    Panel(
        title="KL per sequence",
        metrics={"train/kl": "KL to the first teacher"},
        note="Nats, summed over the tokens of a teaching.",
        band=("goal_kl_low", "goal_kl_high"),
        low=0,
    ),
    Panel(
        title="KL per token",
        metrics={"train/kl_per_token": "k3", "train/kl_k1_per_token": "k1"},
        note="Nats: the same divided by the tokens, by two estimators.",
    ),
    Panel(
        title="Dead groups",
        metrics={
            "train/dead_groups": "all dead groups",
            "train/dead_groups_right": "all right",
            "train/dead_groups_equal": "equal rewards",
            "train/dead_groups_unscored": "too few scored",
        },
        note="Groups that teach nothing, by cause; all right is a part of equal rewards.",
        unit="percent",
        low=0,
    ),
    Panel(
        title="Lengths, tokens",
        metrics={
            "train/teaching_tokens": "teaching",
            "train/attempt_tokens": "answer",
            "train/completion_tokens": "completion",
            "train/thought_tokens": "thoughts",
        },
        note="Means of a step.",
        low=0,
    ),
    Panel(
        title="Cut and unscored",
        metrics={
            "train/truncated_share": "teachings cut",
            "train/attempt_truncated_share": "answers cut",
            "train/abstained_share": "unscored",
        },
        note="Shares of a step's teachings.",
        unit="percent",
        low=0,
    ),
    Panel(
        title="Leaks",
        metrics={"train/leak_rate": "leak rate"},
        note="Share of teachings that gave the answer away.",
        unit="percent",
        low=0,
    ),
    Panel(
        title="Judges",
        metrics={"rim_rewards": "all judges", "rim_rewards/*": ""},
        note="Mean score of the judges.",
    ),
    *_losses("grpo", "The loss that was minimised.", _TRAINING),
    Panel(
        title="Entropy",
        metrics={"train/entropy": "entropy"},
        note="Nats a token: how much the teacher varies.",
        low=0,
    ),
    Panel(
        title="Phases of a step",
        metrics={"time/*": ""},
        note="Seconds.",
        unit="seconds",
        low=0,
    ),
)


def panels(
    curves: Sequence[Mapping[str, Mapping[str, Curve]]],
    bounds: Mapping[str, GoalsConfig],
    names: Sequence[str] = (),
    *,
    banded: bool = False,
) -> list[dict[str, Any]]:
    """Return every panel of which something was logged, as the page draws it.

    Args:
        curves: Of each run: by stage, then by metric name.
        bounds: What is healthy, by stage.
        names: Of the runs, where there are several.
        banded: The runs are one but for their seed.

    Returns:
        Panels with lines ``{"label", "colour", "dash", "x", "y"}``; of a band also ``low`` and
        ``high``. A colour stands for a run where there are several, a dash for a metric.
    """
    drawn = []
    for panel in PANELS:
        logged = [run.get(panel.stage, {}) for run in curves]
        lines = [
            line
            for place, (metric, label) in enumerate(_metrics(panel, logged).items())
            for line in _lines(label, place, [run.get(metric, ()) for run in logged], names, banded)
        ]
        if lines:
            drawn.append(
                {
                    **{"title": panel.title, "stage": panel.stage, "note": panel.note},
                    **{"unit": panel.unit, "low": panel.low, "high": panel.high},
                    "band": _band(panel, bounds.get(panel.stage)),
                    "lines": lines,
                }
            )
    return drawn


def _metrics(panel: Panel, logged: Sequence[Mapping[str, Curve]]) -> dict[str, str]:
    """Return metric -> label, as far as anything was logged."""
    there = dict.fromkeys(name for run in logged for name, curve in run.items() if curve)
    found: dict[str, str] = {}
    for name, label in panel.metrics.items():
        if name.endswith("*") and found and len(logged) > 1:
            continue  # lines of every part of every run would hide one another
        if name.endswith("*"):
            found |= {
                one: one.replace("canary/", "canary, ").rpartition("/")[2].replace("_", " ")
                for one in there
                if one.startswith(name[:-1])
            }
        elif name in there:
            found[name] = label
    return found


def _lines(
    label: str, metric: int, curves: Sequence[Curve], names: Sequence[str], banded: bool
) -> list[dict[str, Any]]:
    if banded:
        title = f"{label}, mean of {len(curves)} seeds"
        return [_band_line(title, metric, curves)] if all(curves) else []
    several = len(curves) > 1
    return [
        {
            "label": f"{label}, {names[run]}" if several else label,
            **{"colour": run if several else metric, "dash": metric},
            **_points(curve),
        }
        for run, curve in enumerate(curves)
        if curve
    ]


def _band_line(label: str, metric: int, curves: Sequence[Curve]) -> dict[str, Any]:
    values = [dict(curve) for curve in curves]
    steps = sorted(set.intersection(*(set(one) for one in values)))
    found = {
        "low": tuple((step, min(one[step] for one in values)) for step in steps),
        "high": tuple((step, max(one[step] for one in values)) for step in steps),
    }
    mean = tuple((step, math.fsum(one[step] for one in values) / len(values)) for step in steps)
    edges = {name: _points(curve)["y"] for name, curve in found.items()}
    return {"label": label, "colour": metric, "dash": metric, **_points(mean), **edges}


def _points(curve: Curve) -> dict[str, list[float]]:
    thin = thinned(curve)
    return {
        "x": [round(step, 2) for step, _ in thin],
        "y": [float(f"{value:.5g}") for _, value in thin],
    }


def thinned(curve: Curve, most: int = _MOST_POINTS) -> Curve:
    """Return at most ``most`` points, each the mean of its neighbours' steps and values."""
    size = math.ceil(len(curve) / most)
    if size <= 1:
        return curve
    parts = [curve[start : start + size] for start in range(0, len(curve), size)]
    return tuple(
        (math.fsum(s for s, _ in part) / len(part), math.fsum(v for _, v in part) / len(part))
        for part in parts
    )


def _band(panel: Panel, bounds: GoalsConfig | None) -> list[float] | None:
    ends = [float(getattr(bounds, key)) for key in panel.band if hasattr(bounds, key)]
    return [ends[0], ends[-1]] if ends else None
