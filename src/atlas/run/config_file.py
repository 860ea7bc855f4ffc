"""``config.yaml`` of a run directory: what the run was begun with, and must go on with."""

from __future__ import annotations

from pathlib import Path

from atlas.config.parts.run import RunConfig
from atlas.config.resolve import shown_values, to_yaml
from atlas.errors import AtlasError
from atlas.run.files import write_atomic
from atlas.yaml_file import read_yaml


def keep_config(config: RunConfig, path: Path) -> None:
    """Save the configuration of a run; where one is saved already, insist that it is the same.

    Raises:
        AtlasError: The run was begun with other settings, which are named, or its file is damaged.
    """
    if not path.exists():
        save_config(config, path)
        return
    before, now = read_yaml(path), shown_values(config)
    if not before:
        raise AtlasError(
            f"{path} is empty, so that nothing says what the run was begun with; bring it back, or "
            "start over with --fresh"
        )
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if changed:
        raise AtlasError(
            f"{path.parent} was begun with other settings ({', '.join(changed)}); give the same "
            "ones, another output_dir, or --fresh to start over"
        )


def save_config(config: RunConfig, path: Path) -> None:
    """Write every key with its value, passwords masked.

    Raises:
        AtlasError: It can't be written.
    """
    write_atomic(path, to_yaml(config))
