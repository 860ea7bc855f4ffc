"""Formats of answers, before anything is loaded."""

from __future__ import annotations

import pytest

from atlas.config.evaluate import EvaluateConfig
from atlas.config.parts.answers import ANSWER_FORMATS, check_answer_format
from atlas.config.resolve import resolve
from atlas.errors import AtlasError


@pytest.mark.parametrize("value", [*ANSWER_FORMATS, "json:result.value", r"regex:(\d+) apples"])
def test_formats_that_there_are(value: str) -> None:
    assert check_answer_format(value) == value


@pytest.mark.parametrize(
    "value", ["autos", "", "json:", "json:$.", "regex:", "regex:(", 5, None, "boxed:x", "Auto"]
)
def test_a_format_that_there_is_not_is_refused(value: object) -> None:
    with pytest.raises(AtlasError, match=r"^answer_format"):
        check_answer_format(value)


def test_a_job_refuses_it_too() -> None:
    with pytest.raises(AtlasError, match=r"answer_format must be one of auto, .* is 'boxes'"):
        resolve(EvaluateConfig(teachers=("a",), answer_format="boxes"))
