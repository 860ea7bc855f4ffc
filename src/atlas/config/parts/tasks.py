"""Configuration of tasks that are worked through once: of families, or of a file."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from atlas.config.grammar.schema import Part, key
from atlas.errors import AtlasError


@dataclass(frozen=True, kw_only=True)
class TasksConfig(Part):
    """Which tasks a student works on."""

    usual_num_tasks: ClassVar[int] = 200

    families: tuple[str, ...] = key(
        ("chain_sum",), "Task families of reasoning-gym, in equal shares; held-out tasks stay out."
    )
    tasks: str | None = key(
        None,
        "JSONL file with tasks of your own, instead of families: question, answer, and if need be "
        "family and metadata.",
    )
    num_tasks: int | None = key(
        None, "How many tasks; null: all of the file, or 200 of the families.", ge=1
    )
    student_model: str | None = key(
        "base",
        "The student: a folder, a hub id, or base, which ships; of an endpoint its name there.",
    )
    chunk_size: int = key(
        100, "Tasks that are worked at a time; each chunk is recorded as a whole.", ge=1
    )

    def resolved(self, given: Collection[str], world_size: int) -> Self:
        """Say how many tasks of families are meant."""
        del world_size
        # Families have a default, so that only what was given tells a contradiction.
        if self.tasks and "families" in given:
            raise AtlasError("tasks and families contradict each other; leave one of them out")
        if self.tasks or self.num_tasks is not None:
            return self
        return replace(self, num_tasks=self.usual_num_tasks)
