import pytest

from atlas.report.curves import PANELS, draw_panels, percent, plain, points


def test_only_what_was_logged_is_drawn():
    curves = {
        "grpo": {
            "train/reward": ((1.0, 0.2), (2.0, 0.4)),
            "train/accuracy_alone": ((1.0, 0.4),),
        }
    }

    views = draw_panels(curves)

    # Accuracy alone is the second line of its panel; without the first it has no panel.
    assert [view.title for view in views] == ["Reward"]
    assert (views[0].first, views[0].last) == ("0.2", "0.4")


def test_a_panel_of_two_lines_names_both():
    line = ((1.0, 0.5), (2.0, 0.75))
    curves = {"grpo": {"train/accuracy_taught": line, "train/accuracy_alone": line}}

    [view] = draw_panels(curves)

    assert view.labels == ("taught", "alone")
    assert (view.first, view.last) == ("50 %", "75 %")
    assert view.svg.count("<polyline") == 2


def test_the_guides_bands_are_drawn():
    bands = {panel.title: panel.band for panel in PANELS if panel.band}

    assert (bands["KL per sequence"].low, bands["KL per sequence"].high) == (0.5, 2.0)
    assert bands["Non-degradation"].low == bands["Non-degradation"].high == 0.97


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (plain(0.28341), "0.283"),
        (plain(12345.6), "12,346"),
        (percent(0.974), "97.4 %"),
        (percent(1.0), "100 %"),
        (points(0.391), "+39.1"),
        (points(-0.02), "-2"),
        (points(0.0), "0"),
    ],
)
def test_numbers_are_short(text, expected):
    assert text == expected
