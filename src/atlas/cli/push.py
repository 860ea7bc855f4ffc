"""``atlas push``: a model folder, with its card, to a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atlas.cli.options import command_app
from atlas.cli.terminal import say
from atlas.errors import AtlasError

app = command_app()


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="A model folder, as in checkpoints/grpo/final")],
    repository: Annotated[str, typer.Argument(help="Where to, as in my-name/my-teacher")],
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see a repository that is new")
    ] = False,
) -> None:
    """Upload a model with its card to the model hub, or to the one that HF_ENDPOINT names."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    from atlas.models.upload import upload

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise AtlasError(f"{repository} is no name of a repository: {error}") from error
    if not folder.is_dir():
        raise AtlasError(f"{folder} is no folder; name the folder of a model")

    say(f"pushed: {upload(folder, repository, private=not public)}")
