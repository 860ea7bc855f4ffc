"""Report: numbers -> inline SVG, as pure functions without a library.

A chart is a string of SVG that scales with the page, takes its colours from CSS classes (so that
light and dark need no second drawing), tells its content in ``aria-label`` and never marks by
colour alone: a second line is dashed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 10.0, 10.0, 24.0
_MOST_POINTS = 160
"""Drawn per line: more than the chart has pixels to show would only make the page heavy."""
_SMOOTHED_FROM = 20
"""Points from which a moving mean is drawn over the raw line."""

Points = Sequence[tuple[float, float]]
Format = Callable[[float], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a chart; ``points`` are (step, value) by rising step."""

    label: str
    points: Points


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """A range to stay in, or with ``low == high`` a line to reach, in the unit of the values."""

    low: float
    high: float
    label: str


def line_chart(
    lines: Sequence[Line],
    *,
    name: str,
    number: Format,
    band: Band | None = None,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Markup:
    """Draw values over training steps.

    Args:
        lines: One or two, each with a point at least; the second is dashed.
        name: What is drawn, for the accessible description.
        number: Formats a value, on the axis and in the description.
        band: Shaded, or a dotted line where it has no width; it is always within the drawing.
        limits: The axis doesn't go beyond them, such as (0, 1) for a share.

    Raises:
        ValueError: There is no line, or one has no points.
    """
    if not lines or not all(line.points for line in lines):
        raise ValueError(f"chart {name!r} has a line without points")
    values = [value for line in lines for _, value in line.points]
    steps = [step for line in lines for step, _ in line.points]
    wanted = [*values, band.low, band.high] if band else values
    ticks = _ticks(min(wanted), max(wanted), limits)
    x = Scale(min(steps), max(steps), _LEFT, WIDTH - _RIGHT)
    y = Scale(ticks[0], ticks[-1], HEIGHT - _BOTTOM, _TOP)
    parts = [_band(band, y)] if band else []
    parts += [_horizontal_tick(y(tick), number(tick)) for tick in ticks]
    parts += _step_ticks(min(steps), max(steps), x)
    for position, line in enumerate(lines, start=1):
        parts.append(_line(line, f"line-{position}", x, y, number))
    description = f"{name}. " + " ".join(_describe(line, number) for line in lines)
    return svg(description, WIDTH, HEIGHT, parts, css="chart")


def thinned(points: Points, most: int = _MOST_POINTS) -> list[tuple[float, float]]:
    """Return at most ``most`` points, each the mean of its neighbours' steps and values."""
    size = math.ceil(len(points) / most)
    chunks = [points[start : start + size] for start in range(0, len(points), size)]
    return [(_mean([s for s, _ in chunk]), _mean([v for _, v in chunk])) for chunk in chunks]


def moving_mean(points: Points) -> list[tuple[float, float]]:
    """Return the points with each value replaced by the mean over an eighth of the line around it.

    Near the ends the window is cut by the end, which pulls a steep line a little flat there; an
    even window of one or two points would end the line in a spike of noise.
    """
    reach = max(1, len(points) // 16)
    return [
        (step, _mean([value for _, value in points[max(0, index - reach) : index + reach + 1]]))
        for index, (step, _) in enumerate(points)
    ]


def ends_of(points: Points) -> tuple[float, float]:
    """Return where a line starts and where it stops: means over its first and last tenth."""
    size = max(1, len(points) // 10)
    values = [value for _, value in points]
    return _mean(values[:size]), _mean(values[-size:])


def minus_sign(number: str) -> str:
    """Return a formatted number with the typographer's minus in front."""
    return number.replace("-", "\N{MINUS SIGN}", 1) if number.startswith("-") else number


def svg(description: str, width: float, height: float, parts: Sequence[str], *, css: str) -> Markup:
    """Return the parts as one picture that scales with the page and tells its content."""
    return Markup(
        f'<svg class="{css}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{escape(description)}">{"".join(parts)}</svg>'
    )


def _line(line: Line, css: str, x: Scale, y: Scale, number: Format) -> str:
    points = thinned(line.points)
    if len(points) < _SMOOTHED_FROM:
        dots = "".join(
            f'<circle class="{css}" cx="{x(step):.1f}" cy="{y(value):.1f}" r="2.5">'
            f"<title>step {step:.0f}: {escape(number(value))}</title></circle>"
            for step, value in points
        )
        return _path(points, f"{css} bold", x, y) + dots
    return _path(points, f"{css} raw", x, y) + _path(moving_mean(points), f"{css} bold", x, y)


def _path(points: Points, css: str, x: Scale, y: Scale) -> str:
    corners = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
    return f'<polyline class="{css}" points="{corners}"/>'


def _band(band: Band, y: Scale) -> str:
    """Return the band, labelled at the left: a run that starts outside it leaves room there."""
    top, bottom = y(band.high), y(band.low)
    fits_inside = bottom - top > 16 or top < _TOP + 12
    label_y = top + 13 if fits_inside else top - 5
    label = (
        f'<text class="band-label" x="{_LEFT + 5:.0f}" y="{label_y:.1f}">'
        f"{escape(band.label)}</text>"
    )
    if band.low == band.high:
        return (
            f'<line class="guide" x1="{_LEFT:.0f}" x2="{WIDTH - _RIGHT:.0f}" y1="{top:.1f}" '
            f'y2="{top:.1f}"/>{label}'
        )
    return (
        f'<rect class="band" x="{_LEFT:.0f}" y="{top:.1f}" width="{WIDTH - _LEFT - _RIGHT:.0f}" '
        f'height="{bottom - top:.1f}"/>{label}'
    )


def _horizontal_tick(at: float, text: str) -> str:
    return (
        f'<line class="grid" x1="{_LEFT:.0f}" x2="{WIDTH - _RIGHT:.0f}" y1="{at:.1f}" '
        f'y2="{at:.1f}"/>'
        f'<text class="tick" x="{_LEFT - 6:.0f}" y="{at + 3.5:.1f}" text-anchor="end">'
        f"{escape(minus_sign(text))}</text>"
    )


def _step_ticks(first: float, last: float, x: Scale) -> list[str]:
    ends = [(first, "start", f"step {first:.0f}")]
    if last > first:
        ends.append((last, "end", f"{last:.0f}"))
    return [
        f'<text class="tick" x="{x(step) if last > first else _LEFT:.1f}" y="{HEIGHT - 7:.0f}" '
        f'text-anchor="{anchor}">{text}</text>'
        for step, anchor, text in ends
    ]


def _describe(line: Line, number: Format) -> str:
    first, last = ends_of(line.points)
    return (
        f"{line.label}: from {number(first)} to {number(last)} "
        f"over steps {line.points[0][0]:.0f} to {line.points[-1][0]:.0f}."
    )


@dataclass(frozen=True, slots=True)
class Scale:
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


def _ticks(low: float, high: float, limits: tuple[float, float]) -> list[float]:
    """Return round numbers, about a third of the range apart, that enclose it."""
    if high - low < 1e-12:
        reach = abs(low) * 0.1 or 1.0
        low, high = max(low - reach, limits[0]), min(high + reach, limits[1])
    rough = (high - low) / 3
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [index * step for index in range(first, last + 1)]
    return [tick for tick in ticks if limits[0] <= tick <= limits[1]] or ticks


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
