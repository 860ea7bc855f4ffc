"""Runs are listed for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from atlas.cli.app import app
from atlas.run.run_dir import RunDir


def test_a_run_is_listed_with_its_state_and_how_it_goes_on(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", "sft")
    run.note("sft", "3/10  loss 0.5")
    said = CliRunner().invoke(app, ["runs", str(tmp_path)]).output
    assert f"{run.path}  sft, died at step 3 of 10\n" in said
    assert f"goes on with: atlas resume {run.path}\n" in said
    (found,) = json.loads(CliRunner().invoke(app, ["runs", str(tmp_path), "--json"]).output)
    assert (found["kind"], found["state"]) == ("sft", "died at step 3 of 10")
    empty = CliRunner().invoke(app, ["runs", str(run.path / "stages")])
    assert "is no folder" in str(empty.exception)
