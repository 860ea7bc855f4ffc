"""``atlas resume`` without a run to go on with: what it says; the rest is in tests/reliability."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from atlas.cli.app import app
from atlas.config.sft import SFTConfig
from atlas.errors import AtlasError
from atlas.run.config_file import save_config
from atlas.run.run_dir import RunDir


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def begun(output_dir: str, **settings: object) -> RunDir:
    run = RunDir.create(output_dir, "sft")
    values = {"model_name_or_path": "nowhere/at_all", "output_dir": output_dir, **settings}
    save_config(SFTConfig(**values), run.config)
    return run


def refusal(*words: str) -> str:
    result = CliRunner().invoke(app, ["resume", *words])
    assert isinstance(result.exception, AtlasError), result.output
    return str(result.exception)


@pytest.mark.usefixtures("folder")
def test_the_settings_are_those_of_the_directory_and_the_command_line_beats_them() -> None:
    begun("runs/one")
    assert "nowhere/at_all" in refusal("runs/one")
    assert "elsewhere/at_all" in refusal("runs/one", "model_name_or_path=elsewhere/at_all")


def test_relative_paths_begin_where_the_run_began(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun("runs/one", export_path="traces.jsonl", data_source="runtime_traces")
    (folder / "other").mkdir()
    monkeypatch.chdir(folder / "other")
    assert "can't read traces.jsonl" in refusal("../runs/one")
    assert Path.cwd() == folder


@pytest.mark.usefixtures("folder")
def test_a_run_that_was_moved_is_told_apart() -> None:
    begun("runs/one")
    Path("runs/one").rename("runs/two")
    assert "runs/two was begun as output_dir=runs/one" in refusal("runs/two")


@pytest.mark.usefixtures("folder")
def test_a_password_is_asked_for_again() -> None:
    begun("run", db_url="postgresql://me:secret@host/db")
    assert "doesn't keep the password in db_url; give db_url=… again" in refusal("run")
    assert "nowhere/at_all" in refusal("run", "db_url=postgresql://me:secret@host/db")


@pytest.mark.usefixtures("folder")
def test_what_holds_no_run_is_refused() -> None:
    assert "isn't there" in refusal("run")
    RunDir.create("run", "sft")
    assert "run has no config.yaml" in refusal("run")
    RunDir.create("whole", "quickstart").sub("sft")
    assert "whole/sft is a part of the run" in refusal("whole/sft")


@pytest.mark.usefixtures("folder")
def test_code_that_a_directory_names_is_not_run_without_being_allowed() -> None:
    begun("run", data_source="theirs.read", allow_targets=("theirs.read",))
    assert "counts on the command line only" in refusal("run")


@pytest.mark.usefixtures("folder")
def test_an_option_that_the_job_hasn_t_is_refused() -> None:
    run = RunDir.create("run", "collect")
    run.config.write_text("output_dir: run\n")
    assert "is for runs of grpo, quickstart, sft; this is one of collect" in refusal(
        "run", "--override-config"
    )
