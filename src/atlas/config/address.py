"""Addresses of servers in settings: whether one is an address at all, before anything is asked."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from atlas.errors import AtlasError
from atlas.masking import mask_secrets

_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?|[0-9a-f:.]+", re.IGNORECASE | re.ASCII)
_PLAIN = re.compile(r"[!-~]+")


def parse_address(
    url: str, name: str = "the address of a server", *, may_hold_password: bool = False
) -> SplitResult:
    """Return the parts of an address such as ``http://127.0.0.1:8000``.

    Args:
        name: What it is the value of, for the message.
        may_hold_password: Whoever uses it sends a user and a password on, and never shows them.

    Raises:
        AtlasError: It is none, or holds a password that it may not.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.port != 0
        if known and _HOST.fullmatch(parts.hostname or "") and _PLAIN.fullmatch(url):
            if may_hold_password or parts.username is None:
                return parts
            raise AtlasError(f"{name} holds a password, which nothing here sends; leave it out")
    except ValueError:
        pass  # a port that is no number, brackets around what is no IPv6
    shown = mask_secrets(url)[:200]
    raise AtlasError(f"{name} is '{shown}', which is no address; write http://127.0.0.1:8000")
