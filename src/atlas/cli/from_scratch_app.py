"""The command line of guide A: ``prepare_grpo_data.py`` and ``train_atlas.py``.

The same two are commands of ``atlas``: ``atlas prepare-data`` and ``atlas ranked``, which the guide
calls GRPO and which is offline, so ``atlas grpo_offline`` is another name for it. ``atlas
selftest`` is what its troubleshooting calls verifying the GRPO implementation, and ``atlas ask``
shows why PyTorch is needed "for training only".
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

prepare_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
train_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@prepare_app.command()
def prepare_data(
    source: Annotated[
        str, typer.Option(help="tasks, traces, jsonl or hub: where prompts and responses are from")
    ] = "tasks",
    path: Annotated[
        str | None,
        typer.Option(
            help="traces: a JSONL file, a database URL or a run directory; jsonl: a JSON or JSONL "
            "file of records; hub: a data set's name, or a parquet or JSON file"
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="hub: which split of the set, train where none is named")
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="tasks: families of reasoning-gym, with commas between; without it chain_sum, "
            "basic_arithmetic and leg_counting"
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            help="Prompts of the training data, at most; without it tasks write 6000, every other "
            "source takes all that it has",
            min=1,
        ),
    ] = None,
    validation_size: Annotated[
        int | None,
        typer.Option(
            help="Prompts of the validation data; without it tasks write 500, every other source "
            "holds out a tenth of its prompts, 500 at most",
            min=1,
        ),
    ] = None,
    responses_per_prompt: Annotated[
        int,
        typer.Option(
            help="From 2 to 16; of more than that the best, the worst and some between are taken"
        ),
    ] = 5,
    seed: Annotated[int, typer.Option(help="Equal seeds write equal files")] = 0,
    output_dir: Annotated[Path, typer.Option(help="Where both files are written")] = Path("data"),
) -> None:
    """Write data/grpo_training.json and data/validation.json: prompts with ranked responses."""
    from atlas.cli import prepare_data as command

    request = command.Request(
        output_dir=output_dir,
        path=path,
        split=split,
        tasks=tasks and [family.strip() for family in tasks.split(",") if family.strip()],
        size=size,
        validation_size=validation_size,
        responses_per_prompt=responses_per_prompt,
        seed=seed,
        say=command.say,
    )
    command.run(source, request)


@train_app.command()
def ranked(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value settings, as in model_size=small")
    ] = None,
    config: Annotated[str, typer.Option(help="A JSON or YAML file")] = "train_config.json",
    resume: Annotated[
        bool, typer.Option("--resume", help="Insist that there is a run to go on with")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete what an earlier run left and start over")
    ] = False,
) -> None:
    """Train a model from random weights on ranked responses, into models/atlas_<size>."""
    from atlas.cli import from_scratch as command

    command.run(config, overrides or [], resume=resume, fresh=fresh)


def selftest() -> None:
    """Check the training's numbers on this machine: formulas, gradients, shortcuts; seconds."""
    from atlas.cli import selftest as command

    command.run()


def ask(
    model: Annotated[Path, typer.Argument(help="A folder that train_atlas.py wrote")],
    prompt: Annotated[str, typer.Argument(help="What the model is asked")],
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens", min=1)] = 128,
) -> None:
    """Ask a model from scratch, with NumPy alone: PyTorch isn't loaded."""
    from atlas.cli import ask as command

    command.run(model, prompt, max_new_tokens=max_new_tokens)


def register(app: typer.Typer) -> None:
    """Add them as commands."""
    app.command("prepare-data")(prepare_data)
    app.command("ranked")(ranked)
    app.command("grpo_offline", hidden=True)(ranked)
    app.command("selftest")(selftest)
    app.command("ask")(ask)
