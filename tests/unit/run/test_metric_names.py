"""The dictionary of metrics: names are found in it, and each stands in the code that logs it."""

from __future__ import annotations

from pathlib import Path

import pytest

import atlas
from atlas.run.metric_names import METRICS, info_of

PACKAGE = Path(atlas.__file__).parent


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("train/kl", "train/kl"),
        ("train/abstained_share", "train/abstained_share"),
        ("train/abstained_share/judges", "train/abstained_share/*"),
        ("rim_rewards/helpfulness", "rim_rewards/*"),
        ("reward/uplift", "reward/*"),
    ],
)
def test_a_name_is_found_by_itself_or_by_its_family(name: str, found: str) -> None:
    info = info_of(name)
    assert info is not None
    assert info.name == found


def test_what_is_not_logged_is_not_found() -> None:
    assert info_of("train/kl_per_word") is None


def test_no_name_stands_twice() -> None:
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))


def test_every_name_is_written_by_some_code() -> None:
    """It is in quotes, or what one of these is put before: train in update.py, canary in grpo.py,
    judges and student in tally.py.
    """
    here = PACKAGE / "run" / "metric_names.py"
    code = "".join(
        path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py") if path != here
    )
    unwritten = [
        metric.name
        for metric in METRICS
        if not any(
            quoted in code
            for before in ("", "train/", "canary/", "judges/", "student/")
            for stem in (metric.name.rstrip("*").removeprefix(before),)
            for quoted in (f'"{stem}"', f'"{stem}{{')
        )
    ]
    assert unwritten == []
