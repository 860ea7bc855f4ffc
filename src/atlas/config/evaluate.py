"""Configuration of the measurement of teachers on held-out tasks (``atlas evaluate``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from atlas.config.grammar.schema import key, like, required
from atlas.config.parts.run import RunConfig
from atlas.config.parts.sampling import DialogueConfig
from atlas.config.parts.student import StudentConfig
from atlas.config.parts.tasks import TasksConfig


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(DialogueConfig, TasksConfig, StudentConfig, RunConfig):
    """The same student answers the same tasks alone, and with every teacher.

    A teacher should be measured as it was trained.
    """

    usual_num_tasks: ClassVar[int] = 400

    job: Literal["evaluate"] = key("evaluate", "Which job the file is for.")
    output_dir: str = like(RunConfig, "output_dir", "runs/evaluate")
    teachers: tuple[str, ...] = required(
        "Folders or hub ids of the teachers. Each is held against those before it."
    )
    families: tuple[str, ...] = key(
        ("chain_sum", "leg_counting"),
        "Task families of reasoning-gym, in equal shares; only held-out tasks.",
    )
    tasks: str | None = key(
        None,
        "JSONL file with tasks of your own, instead of families: question, answer, and if need be "
        "family and metadata. Keep them out of all training.",
    )
    num_tasks: int | None = key(
        None,
        "How many tasks; null: all of the file, or 400 of the families. Four times as many halve "
        "the intervals.",
        ge=1,
    )
    temperature: float = key(
        0.7, "Of the teacher's sampling; 0 is greedy. The student is always greedy.", ge=0
    )
    chunk_size: int = key(
        100, "Tasks that are worked at a time; a stopped run goes on behind the last chunk.", ge=1
    )
