"""Whether the hub can be reached, asked once: without it, loading retries for a minute."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import constants

_SECONDS = 5.0
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


def local_files_only(name: str | Path) -> bool:
    """Say whether a model or a data set must be found here: it is a folder, or no hub answers."""
    return Path(name).is_dir() or not hub_answers(constants.ENDPOINT)


def hub_answers(endpoint: str) -> bool:
    """Try to open a connection to a hub, once.

    Args:
        endpoint: URL. Behind a proxy nothing is tried, and the answer is yes.
    """
    return any(os.environ.get(name) for name in _PROXIES) or connects(endpoint)


@cache
def connects(endpoint: str) -> bool:
    """Open a connection to a URL's server and close it; the answer stands for this process."""
    parts = urlsplit(endpoint)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=_SECONDS):
            return True
    except OSError:
        return False
