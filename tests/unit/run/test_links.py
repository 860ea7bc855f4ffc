from __future__ import annotations

from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.run.links import offer, publish, refuse_foreign

NAMES = {"training.log": "training.log", "deep/events": "tensorboard"}


def test_links_are_relative_and_point_to_the_run_that_was_last(tmp_path: Path) -> None:
    place = tmp_path / "logs"
    for run in ("first", "second"):
        (tmp_path / run / "tensorboard").mkdir(parents=True)
        (tmp_path / run / "training.log").write_text(run)
        publish(tmp_path / run, place, NAMES)
    assert (place / "training.log").read_text() == "second"
    assert (place / "training.log").readlink() == Path("../second/training.log")
    assert (place / "deep" / "events").resolve() == tmp_path / "second" / "tensorboard"
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("second", "logs"):
        (tmp_path / name).rename(moved / name)
    assert (moved / "logs" / "training.log").read_text() == "second"


def test_what_is_no_link_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "training.log").write_text("mine")
    with pytest.raises(AtlasError, match=r"isn't a link that Atlas made.* set log_dir to another"):
        refuse_foreign(tmp_path / "logs", NAMES, "log_dir")
    refuse_foreign(tmp_path / "free", NAMES, "log_dir")


def test_a_file_in_the_way_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(AtlasError, match=r"is a file or can't be written, but log_dir"):
        refuse_foreign(tmp_path / "logs", NAMES, "log_dir")


def test_a_try_out_takes_no_longer_runs_place_unless_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place, model = Path("results"), {"rl_checkpoint": "final"}
    for name, steps in (("whole", 40), ("tried", 2), ("longer", 41)):
        (Path(name) / "final").mkdir(parents=True)
        lines = [f'{{"step": {step}}}\n' for step in range(1, steps + 1)]
        (Path(name) / "metrics.jsonl").write_text("".join(lines))

    def offered(name: str, *, meant: bool = False) -> tuple[bool, str]:
        return offer(Path(name), place, model, model="rl_checkpoint", meant=meant)

    link = place / "rl_checkpoint"
    assert offered("tried") == (True, f"{link} is tried/final now")
    assert offered("whole") == (True, f"{link} is whole/final now, no longer tried/final")
    stays = f"{link} stays whole/final, of 40 steps where this run has 2; results_dir=results makes"
    assert offered("tried") == (False, f"{stays} it this one")
    assert link.resolve() == tmp_path / "whole" / "final"
    assert offered("whole") == (True, f"{link} is whole/final now")
    assert offered("longer")[0]
    assert offered("tried", meant=True) == (
        True,
        f"{link} is tried/final now, no longer longer/final",
    )
    (tmp_path / "tried").rename(tmp_path / "gone")
    assert offered("whole") == (True, f"{link} is whole/final now")
