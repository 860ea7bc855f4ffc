"""Configuration of the measurement of teachers on held-out tasks (``atlas evaluate``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atlas.config.grammar.schema import RunConfig, key, like, required
from atlas.config.grpo import GRPOConfig

DEFAULT_NUM_EVAL_TASKS = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig(RunConfig):
    """The same student answers the same tasks alone, and with every teacher."""

    job: Literal["evaluate"] = key("evaluate", "Which job the file is for.")
    output_dir: str = like(RunConfig, "output_dir", "runs/evaluate")

    # Who is measured.
    teachers: tuple[str, ...] = required(
        "Folders or hub ids of the teachers. Each is held against those before it."
    )
    student_model: str = key("base", "The student: a folder, a hub id, or base, which ships.")

    # On which tasks.
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

    # How both sample; a teacher should be measured as it was trained.
    temperature: float = key(
        0.7, "Of the teacher's sampling; 0 is greedy. The student is always greedy.", ge=0
    )
    top_p: float = like(GRPOConfig, "top_p", 0.95)
    max_new_tokens: int = like(GRPOConfig, "max_new_tokens", 512)
    student_max_new_tokens: int = like(GRPOConfig, "student_max_new_tokens", 512)
    approach_max_new_tokens: int = like(GRPOConfig, "approach_max_new_tokens", 32)
    chunk_size: int = key(
        100, "Tasks that are worked at a time; a stopped run goes on behind the last chunk.", ge=1
    )
