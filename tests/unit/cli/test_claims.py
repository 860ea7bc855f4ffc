"""What was measured is shown again, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.evaluation.outcomes import arm_of
from typer.testing import CliRunner

from atlas.cli.app import app
from atlas.evaluation.claims import claims_table
from atlas.evaluation.claims_file import write_claims
from atlas.run.run_dir import RunDir


def test_claims_fit_sixty_columns_and_come_as_json(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", "evaluate")
    none = CliRunner().invoke(app, ["claims", str(run.path)])
    assert "has no claims" in str(none.exception)
    arms = arm_of("grpo", gained=40, lost=0, both=40, neither=20)
    write_claims(run.claims, claims_table(arms))
    said = CliRunner().invoke(app, ["claims", str(run.path)], env={"COLUMNS": "60"}).output
    assert "The GRPO teacher helps its student." in said
    assert all(len(line) <= 60 for line in said.splitlines() if line.startswith("  "))
    found = json.loads(CliRunner().invoke(app, ["claims", str(run.path), "--json"]).output)
    assert found == json.loads(run.claims.read_text())
