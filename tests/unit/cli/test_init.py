"""Configuration files of one's own come from the package."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from atlas.cli.app import app
from atlas.config import SFTConfig, load_config
from atlas.errors import AtlasError


def test_files_that_were_written_are_those_that_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = load_config(SFTConfig, "configs/run/teacher_sft.yaml")
    assert CliRunner().invoke(app, ["init"]).exit_code == 0
    assert load_config(SFTConfig, "teacher_sft") == shipped
    file = Path("configs/run/teacher_sft.yaml")
    file.write_text(file.read_text().replace("learning_rate: 2e-5", "learning_rate: 1e-3"))
    assert load_config(SFTConfig, "teacher_sft").learning_rate == 1e-3
    again = CliRunner().invoke(app, ["init"])
    assert isinstance(again.exception, AtlasError)
    assert "configs is there already" in str(again.exception)
