"""``atlas ask``: a question to a model from scratch, answered with NumPy alone."""

from __future__ import annotations

from pathlib import Path

from atlas.cli.terminal import console
from atlas.from_scratch.model.numpy_llama import NumpyLlama


def run(model: Path, prompt: str, *, max_new_tokens: int) -> None:
    """Run the command: print the greedy answer as it is written."""
    for piece in NumpyLlama.load(model).stream(prompt, max_new_tokens=max_new_tokens):
        console.out(piece, end="", highlight=False)
    console.print()
