"""Trackers are found by their name; a missing one is said; a failing one ends no training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from atlas.config import SFTConfig
from atlas.errors import AtlasError
from atlas.installing import install_command
from atlas.run.metrics import MetricSink
from atlas.run.run_dir import RunDir
from atlas.run.trackers import tracker
from atlas.run.trackers.tracker import TRACKERS, check_trackers, open_trackers, run_info


def config(**changed: object) -> SFTConfig:
    settings = {"model_name_or_path": "base", "output_dir": "out"} | changed
    return SFTConfig(**settings)  # pyright: ignore[reportArgumentType]


class Forgetful:
    """Takes one step, and then nothing more."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Fail from the second step on."""
        if self.taken:
            raise OSError("no route to host")
        self.taken.append(step)

    def close(self) -> None:
        """Never reached."""
        raise AssertionError("it was told again")


def test_tensorboard_and_none_are_no_trackers() -> None:
    assert open_trackers(config()) == []
    assert open_trackers(config(report_to=("tensorboard", "none"))) == []


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_names_the_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "find_spec", lambda package: None)
    install = re.escape(install_command("trackers"))
    with pytest.raises(AtlasError, match=rf"report_to={name} needs the package {name}: {install}"):
        check_trackers([name])


def test_a_run_is_known_by_its_folder_and_shows_no_password(tmp_path: Path) -> None:
    secret = config(output_dir=str(tmp_path), db_url="postgresql://me:secret@host/db")
    info = run_info(secret)
    assert info.id == run_info(config(output_dir=f"{tmp_path}/")).id
    assert info.id != run_info(config(output_dir=f"{tmp_path}/b")).id
    assert (info.project, info.name, info.group) == ("atlas", str(tmp_path), "sft")
    assert info.config["db_url"] == "postgresql://me:***@host/db"
    assert run_info(config(run_name="first")).name == "first"


def test_a_tracker_that_fails_is_left_alone(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", "sft")
    forgetful = Forgetful()
    with MetricSink(run, stage="sft", total_steps=3, trackers=[forgetful]) as sink:
        for step in (1, 2, 3):
            sink.log(step, {"train/loss": 1.0})
    assert forgetful.taken == [1]
    assert len(run.metrics.read_text().splitlines()) == 3
    log = run.log.read_text()
    assert log.count("warning: Forgetful takes no more metrics: no route to host") == 1
