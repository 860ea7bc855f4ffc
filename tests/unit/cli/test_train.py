from __future__ import annotations

import importlib

import pytest

from atlas.cli import train
from atlas.config import JOBS
from atlas.errors import AtlasError


def test_every_job_has_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    assert train._MODULES.keys() == JOBS.keys()
    asked: list[tuple[str, str, list[str]]] = []
    for job, module in train._MODULES.items():
        command = importlib.import_module(f"atlas.cli.{module}")

        def run(source: str, overrides: list[str], *, fresh: bool, job: str = job) -> None:
            asked.append((job, source, overrides))

        monkeypatch.setattr(command, "run", run)
        monkeypatch.setattr(train, "job_of", lambda source, overrides, job=job: job)
        train.run("a.yaml", ["seed=1"], fresh=False)
    assert asked == [(job, "a.yaml", ["seed=1"]) for job in train._MODULES]


def test_an_unknown_job_is_refused() -> None:
    with pytest.raises(AtlasError, match="there is no job 'stf'; did you mean 'sft'"):
        train.check_job("stf", 1)


def test_a_job_that_can_not_be_shared_is_refused() -> None:
    train.check_job("collect", 1)
    with pytest.raises(AtlasError, match="the job collect runs in one process, not in 3"):
        train.check_job("collect", 3)
