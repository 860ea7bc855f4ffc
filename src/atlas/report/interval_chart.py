"""Report: values with their intervals -> inline SVG, one row per arm on one scale.

Arms are told apart by the shape of their marks as well as by colour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from atlas.evaluation.stats import Interval

Format = Callable[[float], str]
_WIDTH, _MARGIN, _ROW, _SCALE_HEIGHT = 220.0, 9.0, 15.0, 14.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """One measured value on a scale, with its interval; ``arm`` picks colour and shape."""

    arm: str
    label: str
    interval: Interval


def interval_chart(
    marks: Sequence[Mark],
    *,
    name: str,
    number: Format,
    guide: float | None = None,
    include: Sequence[float] = (),
) -> Markup:
    """Draw values with their intervals under each other on one scale.

    Args:
        marks: One row each, at least one.
        name: What is drawn, for the accessible description.
        number: Formats a value in the description.
        guide: The number to reach, drawn as a dashed upright; None for none.
        include: Numbers that the scale must reach, such as 0 for a gain or (0, 100) to make the
            pictures of several rows comparable.

    Returns:
        An ``<svg>`` element; the numbers under it are the ends of its scale.

    Raises:
        ValueError: There is no mark.
    """
    if not marks:
        raise ValueError(f"chart {name!r} has no marks")
    ends = [end for mark in marks for end in (mark.interval.low, mark.interval.high)]
    wanted = [*ends, *include, *([] if guide is None else [guide])]
    x = _Scale(min(wanted), max(wanted), _MARGIN, _WIDTH - _MARGIN)
    bottom = _ROW * len(marks) + 2
    parts = [_upright(x(0), bottom, "zero")] if x.low <= 0 <= x.high else []
    if guide is not None:
        parts.append(_upright(x(guide), bottom, "guide"))
    for position, mark in enumerate(marks):
        parts.append(_interval_mark(mark, x, 1 + _ROW * (position + 0.5), number))
    parts += _scale_ends(x, bottom + _SCALE_HEIGHT - 3)
    told = [f"{mark.label} {_words(mark.interval, number)}." for mark in marks]
    if guide is not None:
        told.append(f"Guide {number(guide)}.")
    description = f"{name}. {' '.join(told)}"
    return _svg(description, _WIDTH, bottom + _SCALE_HEIGHT, parts, css="intervals")


def arm_shape(arm: str) -> Markup:
    """Draw the mark of an arm alone, for a legend."""
    return Markup(
        '<svg class="shape" viewBox="-7 -7 14 14" width="14" height="14" aria-hidden="true">'
        f"{_shape(arm, 0, 0)}</svg>"
    )


def _upright(at: float, bottom: float, css: str) -> str:
    return f'<line class="{css}" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{bottom:.0f}"/>'


def _scale_ends(x: _Scale, at: float) -> list[str]:
    ends = [(x.low, "start", 0.0), (x.high, "end", _WIDTH)]
    return [
        f'<text x="{edge:.0f}" y="{at:.0f}" text-anchor="{anchor}">'
        f"{_minus_sign(f'{round(value, 1):g}')}</text>"
        for value, anchor, edge in ends[: 1 if x.low == x.high else 2]
    ]


def _interval_mark(mark: Mark, x: _Scale, at: float, number: Format) -> str:
    low, high = x(mark.interval.low), x(mark.interval.high)
    return (
        f"<g><title>{escape(mark.label)}: {escape(_words(mark.interval, number))}</title>"
        f'<line class="whisker arm-{escape(mark.arm)}" x1="{low:.1f}" x2="{high:.1f}" '
        f'y1="{at:.1f}" y2="{at:.1f}"/>{_shape(mark.arm, x(mark.interval.value), at)}</g>'
    )


def _shape(arm: str, x: float, y: float) -> str:
    """Return the arm's own shape: known without its colour."""
    css = f'class="mark arm-{escape(arm)}"'
    if arm == "grpo":
        return f'<circle {css} cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    if arm == "sft":
        return f'<rect {css} x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"/>'
    if arm == "alone":
        return f'<circle {css} cx="{x:.1f}" cy="{y:.1f}" r="4" stroke-width="2" fill="none"/>'
    diamond = f"{x:.1f},{y - 6:.1f} {x + 6:.1f},{y:.1f} {x:.1f},{y + 6:.1f} {x - 6:.1f},{y:.1f}"
    return f'<polygon {css} points="{diamond}"/>'


def _words(interval: Interval, number: Format) -> str:
    return f"{number(interval.value)} ({number(interval.low)} to {number(interval.high)})"


def _minus_sign(number: str) -> str:
    """Return a formatted number with the typographer's minus in front."""
    return number.replace("-", "\N{MINUS SIGN}", 1) if number.startswith("-") else number


def _svg(
    description: str, width: float, height: float, parts: Sequence[str], *, css: str
) -> Markup:
    """Return the parts as one picture that scales with the page and tells its content."""
    return Markup(
        f'<svg class="{css}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{escape(description)}">{"".join(parts)}</svg>'
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps values linearly to pixels; a range of no width maps to the middle."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """Return where ``value`` is drawn."""
        if self.high == self.low:
            return (self.start + self.stop) / 2
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)
