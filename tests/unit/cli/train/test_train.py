from __future__ import annotations

import inspect

import pytest

from atlas.cli.train import train
from atlas.config import JOBS
from atlas.config.grammar import compose
from atlas.errors import AtlasError


def test_every_job_has_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    assert train.JOBS.keys() == JOBS.keys()
    asked: list[tuple[str, str, list[str]]] = []
    for job, module in train.JOBS.items():
        taken = inspect.signature(train.command_of(job)).parameters.keys()
        assert {"config", "overrides", "fresh"} <= taken

        def command(config: str, overrides: list[str], fresh: bool, job: str = job) -> None:
            asked.append((job, config, overrides))

        monkeypatch.setattr(f"atlas.cli.{module}.{job}", command)
        monkeypatch.setattr(compose, "job_of", lambda source, overrides, job=job: job)
        train.train("a.yaml", ["seed=1"])
    assert asked == [(job, "a.yaml", ["seed=1"]) for job in train.JOBS]


def test_an_unknown_job_is_refused() -> None:
    with pytest.raises(AtlasError, match="there is no job 'stf'; did you mean 'sft'"):
        train.check_job("stf", 1)


def test_a_job_that_can_not_be_shared_is_refused() -> None:
    train.check_job("collect", 1)
    with pytest.raises(AtlasError, match="the job collect runs in one process, not in 3"):
        train.check_job("collect", 3)
