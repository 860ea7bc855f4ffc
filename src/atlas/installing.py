"""How the rest of Atlas is installed.

The package by itself is for traces, data, inference and reports; its extras bring what else is
needed. No index has it under its name for sure, so a command names the place that this one is from.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from atlas.json_file import json_value

TRAIN = frozenset(
    {
        *("torch", "transformers", "safetensors", "pyarrow", "tensorboard", "google"),
        *("accelerate", "datasets", "peft", "openai", "gguf"),
    }
)
"""Modules of the extra ``train``."""
_NAME = "atlas-teacher"


def install_command(extra: str) -> str:
    """Return the command that installs an extra of Atlas from where this Atlas is from.

    Args:
        extra: Its name in pyproject.toml, such as ``train``.
    """
    checkout = Path(__file__).parents[2]
    if (checkout / "pyproject.toml").is_file():
        return f"pip install -e {shlex.quote(f'{checkout}[{extra}]')}"
    return f"pip install {shlex.quote(f'{_NAME}[{extra}]{_origin()}')}"


def _origin() -> str:
    """Return `` @ URL`` of the wheel or folder that pip took; empty where it asked an index."""
    with suppress(metadata.PackageNotFoundError, ValueError, KeyError):
        text = metadata.distribution(_NAME).read_text("direct_url.json")
        return f" @ {json_value(text)['url']}" if text else ""
    return ""
