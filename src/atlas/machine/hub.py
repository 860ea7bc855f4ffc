"""Whether the hub can be reached, asked once: without it, loading retries for a minute."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import constants

from atlas.errors import AtlasError
from atlas.machine.packaged import unpack
from atlas.machine.shipped import model_path

_SECONDS = 5.0
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


def refuse_missing(name: str | Path) -> None:
    """Refuse a model that can't be found, before anything heavy is loaded for it.

    A model that a package brings is unpacked here, once.

    Args:
        name: A folder, a hub id or the name of a shipped model.

    Raises:
        AtlasError: It is a link to nothing; or no folder, the hub's cache lacks it, and no
            hub can be asked; or it comes in a package that isn't installed.
    """
    unpack(name)
    place = model_path(name)
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


def local_files_only(name: str | Path) -> bool:
    """Say whether a model or a data set must be found here: it is a folder, or no hub answers."""
    return Path(name).is_dir() or not hub_answers(constants.ENDPOINT)


@cache
def hub_answers(endpoint: str) -> bool:
    """Try to open a connection to a hub.

    Args:
        endpoint: URL. Behind a proxy nothing is tried, and the answer is yes.
    """
    if any(os.environ.get(name) for name in _PROXIES):
        return True
    parts = urlsplit(endpoint)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=_SECONDS):
            return True
    except OSError:
        return False
