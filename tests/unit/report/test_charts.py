import re
import xml.etree.ElementTree as ET

import pytest

from atlas.report.charts import (
    HEIGHT,
    WIDTH,
    Band,
    Line,
    ends_of,
    line_chart,
    moving_mean,
    thinned,
)


def _chart(values, **options):
    line = Line(label="loss", points=[(float(step), value) for step, value in enumerate(values)])
    return ET.fromstring(str(line_chart([line], name="Loss", number=str, **options)))


def _ticks(root):
    return [text.text or "" for text in root.iter("text") if text.get("text-anchor") == "end"]


def test_points_are_drawn_where_the_axis_says():
    # The axis runs from 0 to 1, so 0 is at the bottom line, 1 at the top and 0.5 half-way.
    root = _chart([0.0, 1.0, 0.5])

    grid = [float(line.get("y1", "")) for line in root.iter("line")]
    heights = [float(dot.get("cy", "")) for dot in root.iter("circle")]
    assert heights[0] == max(grid)
    assert heights[1] == min(grid)
    assert heights[2] == pytest.approx((min(grid) + max(grid)) / 2, abs=0.1)


def test_the_axis_has_round_numbers_that_enclose_the_values():
    assert _ticks(_chart([0.31, 2.2]))[:-1] == ["0.0", "1.0", "2.0", "3.0"]


def test_what_lies_below_zero_has_a_minus_sign():
    assert "\N{MINUS SIGN}1.0" in _ticks(_chart([-1.0, 1.0]))


def test_the_axis_stays_within_its_limits_and_shows_the_band():
    root = _chart([0.9, 0.9], band=Band(low=0.97, high=0.97, label="guide"), limits=(0.0, 1.0))

    ticks = [float(tick) for tick in _ticks(root)[:-1]]
    assert max(ticks) <= 1.0
    assert min(ticks) <= 0.9
    guide = next(line for line in root.iter("line") if line.get("class") == "guide")
    assert 0 < float(guide.get("y1", "")) < HEIGHT


def test_equal_values_and_a_single_point_stay_within_the_picture():
    for values in ([0.0], [5.0], [1.0, 1.0, 1.0], [-2.0] * 30):
        root = _chart(values)
        corners = re.findall(r"([-\d.]+),([-\d.]+)", next(root.iter("polyline")).get("points", ""))
        assert all(0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y in corners)


def test_the_description_tells_the_ends_and_escapes_labels():
    line = Line(label='<b>"x"', points=[(1, 4.0), (9, 2.0)])

    svg = str(line_chart([line], name="Loss", number=lambda value: f"{value:.0f}"))

    label = ET.fromstring(svg).get("aria-label")
    assert label == 'Loss. <b>"x": from 4 to 2 over steps 1 to 9.'
    assert "<b>" not in svg


def test_a_chart_without_points_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="'Loss'"):
        line_chart([Line(label="empty", points=[])], name="Loss", number=str)


def test_long_lines_are_thinned_to_means_of_neighbours():
    points = [(step, float(step % 2)) for step in range(1000)]

    few = thinned(points, most=100)

    assert len(few) == 100
    assert few[0] == (4.5, 0.5)
    assert thinned(points[:50], most=100) == points[:50]


def test_the_moving_mean_keeps_a_level_and_quietens_noise():
    level = [(step, 3.0) for step in range(64)]
    noise = [(step, float(step % 2)) for step in range(64)]

    assert moving_mean(level) == level
    assert all(0.4 <= value <= 0.6 for _, value in moving_mean(noise)[4:-4])


def test_ends_are_means_over_a_tenth():
    points = [(step, float(step)) for step in range(20)]

    assert ends_of(points) == (0.5, 18.5)
