"""Configuration of the recording of sessions (``atlas collect``)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Self

from atlas.config.grammar.schema import key, like
from atlas.config.parts.run import RunConfig
from atlas.config.parts.sampling import DialogueConfig
from atlas.config.parts.student import StudentConfig
from atlas.config.parts.tasks import TasksConfig
from atlas.errors import AtlasError


@dataclass(frozen=True, kw_only=True)
class CollectConfig(DialogueConfig, TasksConfig, StudentConfig, RunConfig):
    """A teacher and a student work through tasks; a session of each is recorded."""

    job: Literal["collect"] = key("collect", "Which job the file is for.")
    output_dir: str = like(RunConfig, "output_dir", "runs/collect")
    teacher_model: str = key("base", "The teacher: a folder, a hub id, or base, which ships.")
    temperature: float = like(
        DialogueConfig,
        "temperature",
        1.0,
        "Of the teacher's sampling; an untrained teacher's traces should be good and bad.",
    )
    top_p: float = like(DialogueConfig, "top_p", 1.0)
    max_new_tokens: int = like(DialogueConfig, "max_new_tokens", 64)
    student_max_new_tokens: int = like(DialogueConfig, "student_max_new_tokens", 192)

    samples_per_task: int = key(
        1,
        "Sessions of each task, each with a teaching of its own; with two and more the responses "
        "to a task can be ranked (prepare_grpo_data.py --source traces).",
        ge=1,
    )

    # Where the sessions go.
    db_url: str | None = key(
        None,
        "PostgreSQL that the sessions go to: postgresql://user:password@host/name, or the folder "
        "of an embedded server. Without it and without output: pg/ in output_dir.",
        secret=True,
    )
    output: str | None = key(
        None, "JSONL file that the sessions go to, instead of a database; gzipped as .gz."
    )
    learning_key: str | None = key(
        None,
        "Names the sessions, for filters and for going on. null: collect- and the first letters "
        "of a hash of the settings that decide what is recorded.",
    )

    def resolved(self, given: Collection[str], world_size: int) -> Self:
        """Refuse two places for the sessions."""
        del given, world_size
        if self.db_url and self.output:
            raise AtlasError("db_url and output contradict each other; leave one of them out")
        return self
