"""Configuration of the recording of sessions (``atlas collect``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atlas.config.grammar.schema import RunConfig, key, like
from atlas.config.grpo import GRPOConfig

DEFAULT_NUM_TASKS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectConfig(RunConfig):
    """A teacher and a student work through tasks; a session of each is recorded."""

    job: Literal["collect"] = key("collect", "Which job the file is for.")
    output_dir: str = like(RunConfig, "output_dir", "runs/collect")

    # Which tasks.
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

    # Who works on them, and how.
    teacher_model: str = key("base", "The teacher: a folder, a hub id, or base, which ships.")
    student_model: str = key("base", "The student: a folder, a hub id, or base, which ships.")
    temperature: float = like(
        GRPOConfig,
        "temperature",
        1.0,
        "Of the teacher's sampling; an untrained teacher's traces should be good and bad.",
    )
    top_p: float = like(GRPOConfig, "top_p", 1.0)
    max_new_tokens: int = like(GRPOConfig, "max_new_tokens", 64)
    student_max_new_tokens: int = like(GRPOConfig, "student_max_new_tokens", 192)
    approach_max_new_tokens: int = like(GRPOConfig, "approach_max_new_tokens", 32)

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
    chunk_size: int = key(
        100, "Tasks that are worked at a time; each chunk is recorded as a whole.", ge=1
    )
