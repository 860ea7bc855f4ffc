"""A saved configuration -> the settings in it that aren't the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atlas.config import JOBS, keys_of
from atlas.errors import AtlasError
from atlas.yaml_file import parse_yaml


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One key that was given another value than it has by itself."""

    key: str
    value: str
    default: str
    doc: str


def changed_settings(name: str, text: str, kind: str) -> tuple[Setting, ...]:
    """Return the settings that differ from the defaults, in the order of the keys.

    Args:
        name: Of the file, below the run directory: ``config.yaml`` or ``grpo/config.yaml``.
        text: Its content; where that is no YAML, nothing is told.
        kind: Of the run.
    """
    job, values = JOBS.get(job_of(name, kind)), settings_in(text)
    if job is None:
        return ()
    return tuple(
        Setting(
            key=key,
            value=shown(values[key]),
            default=info.default_text,
            doc=info.doc,
        )
        for key, info in keys_of(job).items()
        if key in values and shown(values[key]) != info.default_text
    )


def job_of(name: str, kind: str) -> str:
    """Return which job a configuration file of a run is for."""
    return name.partition("/")[0] if "/" in name else kind


def settings_in(text: str) -> Mapping[str, Any]:
    """Return what a configuration says; nothing where it can't be read."""
    try:
        return parse_yaml(text, "config.yaml")
    except AtlasError:
        return {}


def shown(value: Any) -> str:
    """Return a setting as the command line takes it."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(shown, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
