"""Models that come with the package, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import atlas

SHIPPED: Mapping[str, Path] = {
    "base": Path(atlas.__file__).parent / "from_scratch" / "model" / "base"
}
"""``base``: the small base model, trained by ``make base-model``."""


def model_path(name: str | Path) -> str:
    """Return the folder of a shipped model, or the name as it is: a folder or a hub id.

    A folder of that name in the working directory comes first.
    """
    if str(name) in SHIPPED and not Path(name).is_dir():
        return str(SHIPPED[str(name)])
    return str(name)
