"""Where configuration files lie: the folder ``configs/`` and a run's file."""

from __future__ import annotations

import os
from pathlib import Path

from atlas.config.grammar.schema import nearest
from atlas.errors import AtlasError

SHIPPED = Path(__file__).resolve().parents[2] / "configs"
"""The folder that comes with the package."""
ROOT = "train.yaml"
"""The file in ``configs/`` that every run starts from."""


def find_config_dir(run_file: Path | None = None) -> Path:
    """Return the folder with the shipped YAML files.

    It is the one that ``run_file`` lies in, else ``configs`` in the working directory, where
    ``atlas init`` writes it, else the one that ships with the package, which in a checkout is a
    link to the one there.
    """
    places = [Path("configs"), SHIPPED]
    if run_file is not None:
        places.insert(0, run_file.resolve().parent.parent)
    return next((place for place in places if (place / ROOT).is_file()), SHIPPED).resolve()


def find_run_file(source: str | Path) -> Path:
    """Return the file that ``source`` means: a path, or the name of a file in ``configs/run``.

    Raises:
        AtlasError: There is none.
    """
    config_dir = find_config_dir()
    path = Path(source)
    if path.suffix and os.path.lexists(path) and not os.path.isfile(path):
        what = "a folder" if os.path.isdir(path) else "no file, nor a link to one"
        raise AtlasError(f"config file {source} is {what}; name a YAML file")
    places = [path, config_dir.parent / path, config_dir / path]
    if path.parent in (Path(), Path("run")):
        places.append(config_dir / "run" / f"{path.name.removesuffix('.yaml')}.yaml")
    found = first_file(places)
    if found is not None:
        return found
    if os.path.isdir(path):
        raise AtlasError(f"config file {source} is a folder; name a YAML file")
    runs = sorted(file.stem for file in (config_dir / "run").glob("*.yaml"))
    raise AtlasError(f"config file {source} isn't there{nearest(path.stem, runs)}")


def first_file(places: list[Path]) -> Path | None:
    """Return the first that is a file; none is where its name can't be one."""
    # Not Path.is_file, which raises at names that are too long for the system.
    return next((place for place in places if os.path.isfile(place)), None)
