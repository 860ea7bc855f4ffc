"""What a chat template takes, found out by asking it, and messages brought into that shape.

Some templates have no system role: they refuse one, or drop it without a word. Some refuse two
turns of one role in a row. Some, of models that see, write only content that is a list of parts.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from atlas.prompts import Message

PRIVATE: Final = f"\ue000{secrets.token_hex(8)}"
"""In no text: nobody can know it."""
OTHER: Final = f"\ue000{secrets.token_hex(8)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a template takes."""

    system: bool = True
    """A system prompt, as a turn of its own."""
    repeats: bool = True
    """Several turns of one role, one behind the other."""
    parts: bool = False
    """Content as a list of parts, and not as text."""

    def fit(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return messages that say the same in this shape.

        A system prompt goes into the user's message behind it; turns that can't follow one another
        become one.
        """
        fitted: list[dict[str, Any]] = []
        joins = False
        for message in messages:
            folded = not self.system and message["role"] == "system"
            role = "user" if folded else message["role"]
            if fitted and fitted[-1]["role"] == role and (joins or not self.repeats):
                fitted[-1]["content"] += f"\n\n{message['content']}"
            else:
                fitted.append({**message, "role": role})
            joins = folded
        if self.parts:
            for message in fitted:
                message["content"] = [{"type": "text", "text": message["content"]}]
        return fitted


def find_shape(render: Callable[[list[dict[str, Any]]], str]) -> Shape | None:
    """Return what a template takes; None where nothing that is said gets through it.

    Args:
        render: Messages to text, by the template.
    """

    def shows(shape: Shape, *roles: str) -> bool:
        said: list[Message] = [
            {"role": role, "content": content}
            for role, content in zip(roles, (PRIVATE, OTHER), strict=False)
        ]
        try:
            text = render(shape.fit(said))
        except MemoryError:
            raise
        except Exception:
            return False
        return all(message["content"] in text for message in said)

    for parts in (False, True):
        if shows(Shape(parts=parts), "user"):
            return Shape(
                system=shows(Shape(parts=parts), "system", "user"),
                repeats=shows(Shape(parts=parts), "user", "user"),
                parts=parts,
            )
    return None
