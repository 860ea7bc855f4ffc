"""Where configuration files lie: the folder ``configs/`` and a run's file."""

from __future__ import annotations

from pathlib import Path

from atlas.config.grammar.schema import nearest
from atlas.errors import AtlasError

ROOT = "train"
"""The file in ``configs/`` that every run starts from."""


def find_config_dir(run_file: Path | None = None) -> Path | None:
    """Return the folder with the shipped YAML files.

    It is the one that ``run_file`` lies in, else ``configs`` in the working directory, else the one
    beside the source; None where there is none (an installed package, outside a checkout).
    """
    places = [Path("configs"), Path(__file__).resolve().parents[4] / "configs"]
    if run_file is not None:
        places.insert(0, run_file.resolve().parent.parent)
    return next((place.resolve() for place in places if (place / f"{ROOT}.yaml").is_file()), None)


def find_run_file(source: str | Path) -> Path:
    """Return the file that ``source`` means: a path, or the name of a file in ``configs/run``.

    Raises:
        AtlasError: There is none.
    """
    config_dir = find_config_dir()
    path = Path(source)
    places = [path]
    if config_dir is not None:
        places += [
            config_dir.parent / path,
            config_dir / "run" / f"{path.name.removesuffix('.yaml')}.yaml",
        ]
    is_name = path.parent in (Path(), Path("run"))
    for place in places if is_name else places[:2]:
        if place.is_file():
            return place
    runs = sorted(file.stem for file in (config_dir / "run").glob("*.yaml")) if config_dir else []
    raise AtlasError(
        f"config file {source} isn't there" + (nearest(path.stem, runs) if runs else "")
    )
