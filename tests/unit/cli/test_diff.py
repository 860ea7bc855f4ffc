"""Two runs are told apart, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.report.fake_run import make_fake_run
from typer.testing import CliRunner

from atlas.cli.app import app


def test_what_differs_is_said(tmp_path: Path) -> None:
    first, second = (make_fake_run(tmp_path / name, num_tasks=6) for name in "ab")
    words = ["diff", str(first), str(second)]
    assert "Nothing that was recorded differs." in CliRunner().invoke(app, words).output
    (second / "config.yaml").write_text("seed: 8\n")
    said = CliRunner().invoke(app, words).output
    assert f"  quickstart seed\n    {first}: 7\n    {second}: 8\n" in said
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert found["differences"][0] == {
        "section": "settings",
        "name": "quickstart seed",
        "cells": ["7", "8"],
    }
    assert "isn't there" in str(CliRunner().invoke(app, ["diff", "nowhere", str(first)]).exception)
