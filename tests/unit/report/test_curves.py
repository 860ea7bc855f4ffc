import pytest

from atlas.report.curves import draw_panels, percent, plain, points
from atlas.report.goals import bounds_in

BOUNDS = {stage: bounds_in(stage, {}) for stage in ("sft", "grpo")}


def test_only_what_was_logged_is_drawn():
    curves = {
        "grpo": {
            "train/reward": ((1.0, 0.2), (2.0, 0.4)),
            "train/accuracy_alone": ((1.0, 0.4),),
        }
    }

    views = draw_panels(curves, BOUNDS)

    # Accuracy alone is the second line of its panel; without the first it has no panel.
    assert [view.title for view in views] == ["Reward"]
    assert (views[0].first, views[0].last) == ("0.2", "0.4")


def test_a_panel_of_two_lines_names_both():
    line = ((1.0, 0.5), (2.0, 0.75))
    curves = {"grpo": {"train/accuracy_taught": line, "train/accuracy_alone": line}}

    [view] = draw_panels(curves, BOUNDS)

    assert view.labels == ("taught", "alone")
    assert (view.first, view.last) == ("50 %", "75 %")
    assert view.svg.count("<polyline") == 2


def test_what_is_healthy_is_drawn_as_the_run_was_held_against_it():
    line = ((1.0, 0.5), (2.0, 0.75))
    curves = {"grpo": {"train/kl": line, "train/non_degrade_rate": line}}

    drawn = {view.title: view.svg for view in draw_panels(curves, BOUNDS)}
    other = draw_panels(curves, {"grpo": bounds_in("grpo", {"goal_kl_high": 3.0})})

    assert "healthy: 0.5 to 2<" in drawn["KL per sequence"]
    assert "healthy: 95 %<" in drawn["Non-degradation"]
    assert any("healthy: 0.5 to 3<" in view.svg for view in other)


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
