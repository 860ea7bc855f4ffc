"""The one error that a user is meant to read."""

from __future__ import annotations

_LONGEST = 300
"""Characters of another library's message."""


class AtlasError(Exception):
    """A mistake that the user can mend: one line that says what, where and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def reason_of(error: BaseException) -> str:
    """Return what another library's error says, as part of one line that a terminal can show."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    text = "".join(char if char.isprintable() else "\ufffd" for char in text)
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    if isinstance(error, OSError | ValueError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class RankError(AtlasError):
    """What one of several processes met by itself; the message says which rank it is."""
