"""Configuration of code of the user's own: which of it may run."""

from __future__ import annotations

from dataclasses import dataclass

from atlas.config.grammar.schema import Part, key


@dataclass(frozen=True, kw_only=True)
class OwnCodeConfig(Part):
    """What keys may name besides what ships."""

    allow_targets: tuple[str, ...] | None = key(
        None, "Functions and classes of your own that keys may name; from the command line only."
    )
