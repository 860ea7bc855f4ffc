"""``atlas ask``: a question to a model from scratch, answered with NumPy alone.

It shows why the guide needs PyTorch "for training only".
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atlas.cli.options import command_app
from atlas.cli.terminal import say

app = command_app()


@app.command()
def ask(
    model: Annotated[Path, typer.Argument(help="A folder that train_atlas.py wrote")],
    prompt: Annotated[str, typer.Argument(help="What the model is asked")],
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens", min=1)] = 128,
) -> None:
    """Ask a model from scratch, with NumPy alone: PyTorch isn't loaded."""
    from atlas.from_scratch.model.numpy_llama import NumpyLlama

    for piece in NumpyLlama.load(model).stream(prompt, max_new_tokens=max_new_tokens):
        say(piece, end="")
    say()
