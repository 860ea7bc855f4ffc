"""The real trackio, on this machine: what it is given is in its database."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trackio", reason="the extra trackers isn't installed")

_RUN = """
from pathlib import Path
from atlas.config import SFTConfig
from atlas.run.metrics import sink_for
from atlas.run.run_dir import RunDir

run = RunDir.create(Path("run"), "sft")
config = SFTConfig(model_name_or_path="base", output_dir="run", report_to=("trackio",))
with sink_for(run, config, stage="sft", total_steps=2, first_step=0) as sink:
    sink.log(1, {"train/loss": 1.25, "train/kl": float("nan")})
    sink.log(2, {"train/loss": 0.75})
"""


def test_metrics_are_in_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: trackio reads its folder once, when it is imported."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = subprocess.run(
        [sys.executable, "-c", _RUN], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    (database,) = (tmp_path / "trackio").glob("atlas*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT step, metrics FROM metrics ORDER BY step").fetchall()
    assert [(step, json.loads(text)) for step, text in rows] == [
        (1, {"train/loss": 1.25}),
        (2, {"train/loss": 0.75}),
    ]
