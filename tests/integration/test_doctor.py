"""``atlas doctor`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from atlas.cli.app import app


def doctor(*words: str) -> tuple[int, str]:
    """Run the command in this process."""
    done = CliRunner().invoke(app, ["doctor", *words])
    return done.exit_code, done.output


def run_with(folder: Path, **metrics: float) -> Path:
    """Write a GRPO run whose every step logged these numbers."""
    folder.mkdir()
    kind = {"layout_version": 1, "kind": "grpo", "atlas_version": "0"}
    (folder / "run.json").write_text(json.dumps(kind))
    figures = {name.replace("__", "/"): value for name, value in metrics.items()}
    lines = [json.dumps({"step": step, "stage": "grpo", **figures}) for step in range(1, 9)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_this_machine_starts_what_a_run_needs() -> None:
    code, text = doctor()
    assert "postgresql   18" in text
    assert "code jail" in text
    assert code == 0, text


def test_a_sick_run_is_named_with_its_cause_first(tmp_path: Path) -> None:
    sick = run_with(tmp_path / "sick", train__dead_groups=0.9, train__kl=8.0)
    code, text = doctor(str(sick))
    assert code == 1
    assert text.index("90% of the groups are dead") < text.index("KL 8.0 a teaching")
    assert "✗ KL, nats a sequence" in text


def test_a_healthy_run_is_left_in_peace(tmp_path: Path) -> None:
    code, text = doctor(str(run_with(tmp_path / "well", train__dead_groups=0.1, train__kl=1.0)))
    assert code == 0
    assert "nothing stands out" in text
