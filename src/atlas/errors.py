"""The one error that a user is meant to read."""

from __future__ import annotations


class AtlasError(Exception):
    """A mistake that the user can mend: one line that says what, where and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class RankError(AtlasError):
    """What one of several processes met by itself; the message says which rank it is."""
