from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from atlas.run.progress import Progress, Silent
from atlas.run.run_dir import RunDir
from atlas.run.stages import Stage, run_stages
from atlas.run.stopping import Stopped, StopRequest


def test_finished_stages_are_not_run_again_and_chance_belongs_to_the_stage(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", "ranked")
    calls: list[tuple[str, float]] = []
    fails = True

    def stage(name: str) -> Stage:
        def work(progress: Progress, stop: StopRequest) -> Mapping[str, Any]:
            calls.append((name, torch.rand(1).item()))
            if name == "second" and fails:
                raise RuntimeError("power cut")
            return {"drawn": calls[-1][1]}

        return work

    def go() -> None:
        stages = {name: stage(name) for name in ("first", "second", "third")}
        stop = StopRequest()
        run_stages(run, stages, seed=3, progress_of=lambda name: Silent(), stop=stop)

    with pytest.raises(RuntimeError):
        go()
    fails = False
    go()
    assert [name for name, _ in calls] == ["first", "second", "second", "third"]
    assert calls[1][1] == calls[2][1]
    assert len({drawn for _, drawn in calls}) == 3
    assert run.stage_summary("second") == {"drawn": calls[2][1]}


def test_a_stop_is_heard_between_stages(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", "ranked")
    stop = StopRequest()

    def first(progress: Progress, asked: StopRequest) -> Mapping[str, Any]:
        asked.asked = True
        return {}

    stages: dict[str, Stage] = {"first": first, "second": first}
    with pytest.raises(Stopped):
        run_stages(run, stages, seed=0, progress_of=lambda name: Silent(), stop=stop)
    assert (run.stage_done("first"), run.stage_done("second")) == (True, False)


def test_what_is_outdated_is_done_again_with_all_behind_it(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", "ranked")
    done: list[str] = []

    def stage(name: str) -> Stage:
        def work(progress: Progress, stop: StopRequest) -> Mapping[str, Any]:
            done.append(name)
            return {}

        return work

    def go(outdated: bool) -> None:
        def forget(say: Callable[[str], None]) -> None:
            if outdated:
                say("the data changed")
                run.forget_stage("second")

        run_stages(
            run,
            {name: stage(name) for name in ("first", "second", "third")},
            seed=3,
            progress_of=lambda name: Silent(),
            stop=StopRequest(),
            outdated={"second": forget},
        )

    for outdated in (False, False, True):
        go(outdated)
    assert done == ["first", "second", "third", "second", "third"]
    assert "the data changed" in run.log.read_text()
