import xml.etree.ElementTree as ET

import pytest

from atlas.evaluation.stats import Interval
from atlas.report.interval_chart import Mark, arm_shape, interval_chart

SFT = Mark(arm="sft", label="SFT teacher", interval=Interval(value=20, low=10, high=30))
GRPO = Mark(arm="grpo", label="GRPO <teacher>", interval=Interval(value=40, low=35, high=50))


def _lines(root, css):
    return [line for line in root.iter("line") if css in line.get("class", "").split()]


def test_marks_whiskers_zero_and_guide_lie_on_one_scale():
    # The scale runs from 0 to 50.
    chart = interval_chart([SFT, GRPO], name="Uplift", number=str, guide=25.0, include=(0,))
    root = ET.fromstring(str(chart))

    zero = float(_lines(root, "zero")[0].get("x1", ""))
    guide = float(_lines(root, "guide")[0].get("x1", ""))
    sft, grpo = _lines(root, "whisker")
    unit = (float(grpo.get("x2", "")) - zero) / 50
    assert (guide - zero) / unit == pytest.approx(25, abs=0.1)
    assert (float(sft.get("x1", "")) - zero) / unit == pytest.approx(10, abs=0.1)
    assert (float(grpo.get("x1", "")) - zero) / unit == pytest.approx(35, abs=0.1)
    assert [text.text for text in root.iter("text")] == ["0", "50"]


def test_the_scale_fits_the_values_where_nothing_else_is_asked():
    root = ET.fromstring(str(interval_chart([GRPO], name="Rate", number=str)))

    assert [text.text for text in root.iter("text")] == ["35", "50"]
    assert not _lines(root, "zero")


def test_the_description_holds_every_number():
    chart = interval_chart([SFT, GRPO], name="Uplift", number=lambda v: f"{v:.0f}", guide=15.7)

    label = ET.fromstring(str(chart)).get("aria-label")
    assert label == ("Uplift. SFT teacher 20 (10 to 30). GRPO <teacher> 40 (35 to 50). Guide 16.")


def test_arms_differ_by_shape_and_not_by_colour_alone():
    shapes = {ET.fromstring(str(arm_shape(arm)))[0].tag for arm in ("untrained", "sft", "grpo")}

    assert len(shapes) == 3


def test_no_marks_is_an_error_that_names_the_chart():
    with pytest.raises(ValueError, match="'Uplift'"):
        interval_chart([], name="Uplift", number=str)
