"""Configuration of what a training leaves: checkpoints, what trackers see, the guide's names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atlas.config.grammar.schema import Part, key

ReportTo = Literal["tensorboard", "wandb", "trackio", "none"]
FinalPrecision = Literal["auto", "float32"]


@dataclass(frozen=True, kw_only=True)
class RecordConfig(Part):
    """What a training writes besides its model."""

    save_steps: int = key(
        0, "Optimiser steps between two checkpoints to resume from; 0 writes the last only.", ge=0
    )
    save_total_limit: int = key(2, "Checkpoints that are kept; older ones are deleted.", ge=1)
    report_to: tuple[ReportTo, ...] | None = key(
        None,
        "Trackers that the metrics are sent to besides the run directory, where the files of "
        "TensorBoard always are: wandb, trackio, or both.",
    )
    tracker_project: str = key("atlas", "Project of the trackers.")
    run_name: str | None = key(None, "Name of the run in the trackers; null: its output_dir.")
    results_dir: str | None = key(
        "results",
        "Where links with the guide's names point to what the last finished training made; null: "
        "nowhere. Only where it is set, final/ holds pytorch_model.bin too, under that name of the "
        "guide's: the weights a second time.",
    )
    bin_limit_gb: float = key(
        10.0,
        "pytorch_model.bin is left out where it would be larger than so many GB (1e9 bytes): "
        "what looks for it can read the safetensors beside it.",
        ge=0,
    )
    final_precision: FinalPrecision = key(
        "auto",
        "Of the weights in final/: auto is bfloat16 where the model that was started from is kept "
        "in it, half the size; float32 keeps every bit that was learned.",
    )
