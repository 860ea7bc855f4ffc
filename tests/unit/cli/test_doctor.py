"""``atlas doctor``: what a program gets, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from atlas.cli.app import app
from atlas.run.run_dir import RunDir


def with_losses(folder: Path, losses: list[float], *, finished: bool = True) -> Path:
    """Write a run of SFT with these losses."""
    run = RunDir.create(folder, "sft")
    run.note("sft", f"{len(losses)}/{2 * len(losses)}  loss {losses[-1]}")
    if finished:
        run.finish_stage("sft", {}, 1.0)
    lines = [json.dumps({"step": n, "train/loss": loss}) for n, loss in enumerate(losses, 1)]
    (run.path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return run.path


def test_a_program_gets_goals_and_findings_and_the_code_says_whether_there_are_some(
    tmp_path: Path,
) -> None:
    good = CliRunner().invoke(
        app, ["doctor", str(with_losses(tmp_path / "good", [0.5] * 6)), "--json"]
    )
    assert good.exit_code == 0
    (goal,) = json.loads(good.output)["stages"]["sft"]["goals"]
    assert (goal["state"], goal["value"]) == ("met", "0.5")
    ill_run = str(with_losses(tmp_path / "ill", [4.0] * 6))
    ill = CliRunner().invoke(app, ["doctor", ill_run, "--json"])
    assert ill.exit_code == 1
    (finding,) = json.loads(ill.output)["stages"]["sft"]["findings"]
    assert finding["what"] == "training loss 4.00; below 1.5 is healthy"


def test_a_run_that_was_killed_is_told_as_such_with_how_to_go_on(tmp_path: Path) -> None:
    run = with_losses(tmp_path / "killed", [0.5] * 6, finished=False)
    told = CliRunner().invoke(app, ["doctor", str(run)])
    assert told.exit_code == 1
    assert told.output.splitlines()[0] == (
        f"run: died at step 6 of 12; it goes on with: atlas resume {run}"
    )
    (run / "metrics.jsonl").unlink()
    assert CliRunner().invoke(app, ["doctor", str(run)]).exit_code == 1
    RunDir.open(run).note("sft", "stopped by SIGINT")
    told = CliRunner().invoke(app, ["doctor", str(run), "--json"])
    assert json.loads(told.output)["state"] == "stopped by SIGINT at step 6 of 12"


def test_the_machine_is_told_to_a_program() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    checks = {check["name"]: check["state"] for check in json.loads(result.output)}
    assert checks["python"] == "ok"
    assert {"memory", "disk", "postgresql"} <= checks.keys()
    assert result.exit_code == ("problem" in checks.values())
