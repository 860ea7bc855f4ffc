"""How a long piece of work tells how far it has come. The command line draws it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Takes the progress of one stage."""

    def begin(self, total: int, done: int = 0) -> None:
        """Say how many units of work there are, and how many were done before.

        May be said again, when other work follows.
        """
        ...

    def advance(self, units: int = 1, note: str = "") -> None:
        """Say that units of work are done, with a short note of how it goes."""
        ...

    def say(self, line: str) -> None:
        """Show a line that stays."""
        ...


class Silent:
    """Draws nothing."""

    def begin(self, total: int, done: int = 0) -> None:
        """Take it."""

    def advance(self, units: int = 1, note: str = "") -> None:
        """Take it."""

    def say(self, line: str) -> None:
        """Take it."""
