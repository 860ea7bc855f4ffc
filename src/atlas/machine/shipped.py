"""Models that have a name here: one comes with Atlas, one with a package of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import atlas

SHIPPED: Mapping[str, Path] = {
    "base": Path(atlas.__file__).parent / "from_scratch" / "model" / "base"
}
"""``base``: the small base model, trained by ``make base-model``."""
SMOLLM2: Final = "smollm2"
"""SmolLM2-135M-Instruct, which `atlas.models.packaged` makes a folder of."""


def model_path(name: str | Path) -> str:
    """Return the folder of a model with a name, or the name as it is: a folder or a hub id.

    A folder of that name in the working directory comes first.
    """
    if not Path(name).is_dir():
        if str(name) in SHIPPED:
            return str(SHIPPED[str(name)])
        if str(name) == SMOLLM2:
            return str(cache_folder() / SMOLLM2)
    return str(name)


def cache_folder() -> Path:
    """Return where models are kept that were made once: ``XDG_CACHE_HOME`` or ``~/.cache``.

    A user without a home, as in a container under a number of its own, has the folder for
    temporary files.
    """
    home = os.path.expanduser("~")
    cache = Path(home) / ".cache" if os.path.isabs(home) else Path(tempfile.gettempdir())
    return Path(os.environ.get("XDG_CACHE_HOME") or cache) / "atlas"
