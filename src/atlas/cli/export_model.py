"""``atlas export MODEL --format``: a model in another format, kept only where it proves equal."""

from __future__ import annotations

from pathlib import Path

from atlas.cli.terminal import console
from atlas.from_scratch.model.exporting import export_model


def run(model: Path, output: Path, name: str) -> None:
    """Run the command."""
    exported = export_model(model, output, name)
    console.print(
        f"compared:  {exported.answers} greedy answers equal, logits differ by at most "
        f"{exported.largest_difference:.2g}",
        soft_wrap=True,
    )
    size = f"{exported.num_bytes:,} bytes"
    console.print(f"written:   {exported.path}, {size}", markup=False, soft_wrap=True)
