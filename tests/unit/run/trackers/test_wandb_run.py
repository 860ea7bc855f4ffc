"""The real wandb, offline: what it is given is in the file that it would send."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.config import SFTConfig
from atlas.run.metrics import sink_for
from atlas.run.run_dir import RunDir

wandb = pytest.importorskip("wandb", reason="the extra trackers isn't installed")


def test_metrics_and_settings_are_kept_for_sending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for place in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(place, str(tmp_path / "wandb home"))
    run = RunDir.create(tmp_path / "run", "sft")
    config = SFTConfig(
        model_name_or_path="base", output_dir=str(run.path), report_to=("wandb",), run_name="one"
    )
    with sink_for(run, config, stage="sft", total_steps=2, first_step=0) as sink:
        sink.log(1, {"train/loss": 1.25, "train/kl": float("nan")})
        sink.log(2, {"train/loss": 0.75})
    wandb.teardown()  # as the end of the process does: its service then writes the rest
    (kept,) = run.path.glob("wandb/offline-run-*/run-*.wandb")
    content = kept.read_bytes()
    for said in (b"train/loss", b"1.25", b"0.75", b"learning_rate", b"atlas", b"one"):
        assert said in content, said
    assert b"NaN" not in content
