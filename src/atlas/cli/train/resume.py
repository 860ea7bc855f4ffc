"""``atlas resume``: go on with a run, from what its directory says that it was begun with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from atlas.cli.options import OverrideConfig, Overrides, command_app
from atlas.cli.train.train import JOBS, command_of, overriding
from atlas.errors import AtlasError
from atlas.masking import is_masked
from atlas.run.run_dir import RunDir

app = command_app()


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run directory")],
    overrides: Overrides,
    override_config: OverrideConfig = False,
) -> None:
    """Go on with a run that was stopped or killed; its directory has the settings."""
    found = RunDir.open(run)
    whole = next((p for p in run.absolute().parents if _holds(p, found)), None)
    if whole is not None:
        raise AtlasError(f"{run} is a part of the run {whole}; go on with that one")
    if found.kind not in JOBS or not found.config.is_file():
        raise AtlasError(
            f"{run} has no {found.config.name}: nothing was begun there, or not by one command; "
            "give the command itself"
        )
    options = overriding(found.kind) if override_config else {}

    from atlas.cli.train.job import names_results
    from atlas.yaml_file import read_yaml

    settings = read_yaml(found.config)
    _check_secrets(found, settings, overrides)
    if not names_results(overrides) and names_results(found.command):
        overrides = [*overrides, f"results_dir={settings['results_dir'] or 'null'}"]
    config = found.config.absolute()
    os.chdir(begun_in(found, settings))
    command_of(found.kind)(config=str(config), overrides=overrides, **options)


def _holds(folder: Path, run: RunDir) -> bool:
    """Tell whether a folder is a run of another kind, of which this one is a stage."""
    return (folder / "run.json").is_file() and RunDir.open(folder).kind != run.kind


def _check_secrets(run: RunDir, settings: Mapping[str, Any], overrides: list[str]) -> None:
    """Refuse to go on with a password that isn't kept."""
    given = {word.partition("=")[0] for word in overrides}
    for name, value in settings.items():
        if name not in given and isinstance(value, str) and is_masked(value):
            raise AtlasError(
                f"{run.config} doesn't keep the password in {name}; give {name}=… again, as in: "
                f"atlas resume {run.path} {name}=…"
            )


def begun_in(run: RunDir, settings: Mapping[str, Any]) -> Path:
    """Return the folder that the run's relative paths begin in.

    Raises:
        AtlasError: The run was moved.
    """
    output_dir = Path(str(settings.get("output_dir", "")))
    here = run.path.absolute()
    folder = Path(*here.parts[: len(here.parts) - len(output_dir.parts)])
    if output_dir.is_absolute():
        folder = Path.cwd()
    if (folder / output_dir).resolve() != here.resolve():
        raise AtlasError(
            f"{run.path} was begun as output_dir={output_dir}; move it back, or give the command "
            f"itself with --config {run.config} output_dir={run.path}"
        )
    return folder
