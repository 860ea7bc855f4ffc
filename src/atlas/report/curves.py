"""Report: the learning curves, as panels of one chart each.

Input: metrics by stage and name, and the bounds that each stage is held against. Output: a
``PanelView`` for every panel whose metric was logged, with what is healthy as a band or a line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from atlas.config.parts.goals import GoalsConfig
from atlas.report.charts import Band, Line, ends_of, line_chart
from atlas.report.goals import Curve


def plain(value: float) -> str:
    """Return a number to three significant digits, without an exponent where it can be avoided."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def percent(value: float) -> str:
    """Return a share as a percentage."""
    return f"{_tidy(100 * value)} %"


def points(value: float) -> str:
    """Return a difference of shares in points."""
    return f"{_tidy(100 * value):+}" if value else "0"


def _tidy(value: float) -> float | int:
    rounded = round(value, 1)
    return int(rounded) if rounded == int(rounded) else rounded


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """What one chart shows."""

    title: str
    metrics: Mapping[str, str]
    """Metric name to label; the first is the one that the panel is about."""
    note: str
    """One line under the title: how to read it."""
    stage: str = "grpo"
    number: Callable[[float], str] = plain
    band: tuple[str, ...] = ()
    """Keys of the bounds: where the healthy range begins and ends, or the one line to keep to."""
    limits: tuple[float, float] = (-math.inf, math.inf)


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelView:
    """A panel, drawn."""

    title: str
    stage: str
    note: str
    labels: tuple[str, ...]
    """Of the lines; the second is dashed."""
    first: str
    last: str
    """Where the first line starts and stops: means over its first and last tenth."""
    svg: Markup


_SHARE = (0.0, 1.0)
_UNSIGNED = (0.0, math.inf)

PANELS: tuple[Panel, ...] = (
    Panel(
        title="Loss",
        stage="pretrain",
        metrics={"train/loss": "training"},
        note="Cross entropy per token of the corpus.",
    ),
    Panel(
        title="Loss",
        stage="ranked",
        metrics={"train/loss": "training", "train/preference_loss": "its first term"},
        note="Likelihood weighted by preference, and the pairwise term.",
        band=("goal_loss",),
    ),
    Panel(
        title="Gradient norm",
        stage="ranked",
        metrics={"train/grad_norm": "before clipping"},
        note="Of all gradients.",
        band=("goal_grad_norm",),
        limits=_UNSIGNED,
    ),
    Panel(
        title="Loss",
        stage="sft",
        metrics={"train/loss": "training", "eval/loss": "held out"},
        note="Cross entropy per token of the teachings collected.",
        band=("goal_loss",),
    ),
    Panel(
        title="Gradient norm",
        stage="sft",
        metrics={"train/grad_norm": "before clipping"},
        note="Of all gradients.",
        band=("goal_grad_norm",),
        limits=_UNSIGNED,
    ),
    Panel(
        title="Reward",
        metrics={"train/reward": "reward"},
        note="Mean over all teachings of a step.",
    ),
    Panel(
        title="Uplift, points",
        metrics={"train/uplift": "uplift"},
        note="Right with this teaching minus right alone.",
        number=points,
    ),
    Panel(
        title="Student accuracy",
        metrics={"train/accuracy_taught": "taught", "train/accuracy_alone": "alone"},
        note="On the training tasks of each step.",
        number=percent,
        limits=_SHARE,
    ),
    Panel(
        title="Non-degradation",
        metrics={"train/non_degrade_rate": "not worse"},
        note="Share of teachings that left the student no worse.",
        number=percent,
        band=("goal_non_degradation",),
        limits=_SHARE,
    ),
    Panel(
        title="KL per sequence",
        metrics={"train/kl": "KL to the SFT teacher"},
        note="Nats, summed over the tokens of a teaching.",
        band=("goal_kl_low", "goal_kl_high"),
        limits=_UNSIGNED,
    ),
    Panel(
        title="Judges",
        metrics={"rim_rewards": "rim_rewards"},
        note="Mean score of the judges together.",
        limits=_SHARE,
    ),
    Panel(
        title="Teaching tokens",
        metrics={"train/teaching_tokens": "tokens"},
        note="Mean length of a teaching.",
    ),
    Panel(
        title="Leaks",
        metrics={"train/leak_rate": "leak rate"},
        note="Share of teachings that gave the answer away.",
        number=percent,
        limits=_SHARE,
    ),
    Panel(
        title="Dead groups",
        metrics={"train/dead_groups": "dead groups", "train/dead_groups_right": "all right"},
        note="Groups whose teachings all earned the same, so that none could be learned from.",
        limits=_UNSIGNED,
    ),
)


def draw_panels(
    curves: Mapping[str, Mapping[str, Curve]], bounds: Mapping[str, GoalsConfig]
) -> tuple[PanelView, ...]:
    """Draw every panel whose first metric was logged.

    Args:
        curves: By stage, then by metric name.
        bounds: What is healthy, by stage.

    Returns:
        The panels drawn; a second line that wasn't logged is left out of its panel.
    """
    views = []
    for panel in PANELS:
        logged = curves.get(panel.stage, {})
        lines = [
            Line(label=label, points=logged[metric])
            for metric, label in panel.metrics.items()
            if logged.get(metric)
        ]
        if next(iter(panel.metrics)) in logged:
            views.append(_view(panel, lines, _band(panel, bounds.get(panel.stage))))
    return tuple(views)


def _band(panel: Panel, bounds: GoalsConfig | None) -> Band | None:
    ends = [float(getattr(bounds, key)) for key in panel.band if hasattr(bounds, key)]
    if not ends:
        return None
    words = " to ".join(panel.number(end) for end in ends)
    return Band(low=ends[0], high=ends[-1], label=f"healthy: {words}")


def _view(panel: Panel, lines: Sequence[Line], band: Band | None) -> PanelView:
    first, last = ends_of(lines[0].points)
    return PanelView(
        title=panel.title,
        stage=panel.stage,
        note=panel.note,
        labels=tuple(line.label for line in lines),
        first=panel.number(first),
        last=panel.number(last),
        svg=line_chart(
            lines,
            name=f"{panel.title}, {panel.stage.upper()}",
            number=panel.number,
            band=band,
            limits=panel.limits,
        ),
    )
