"""A GRPO run's own teacher, measured on the tasks that the run kept out of its training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from atlas.cli.terminal import say
from atlas.errors import AtlasError
from atlas.run.run_dir import RunDir

if TYPE_CHECKING:
    from atlas.config import GRPOConfig
    from atlas.types import Task

_USUAL = 400


def keep_held_out(run: RunDir, tasks: Sequence[Task]) -> None:
    """Write the held-out tasks whose answers can be verified into a run that is new."""
    from atlas.data.task_file import write_tasks
    from atlas.rewards.verifiers import accepts_reference

    if not run.held_out.exists():
        write_tasks(run.held_out, [task for task in tasks if accepts_reference(task) is None])


def measure_own(run: RunDir, config: GRPOConfig) -> None:
    """Measure what a training has made; where it kept nothing to measure on, say so.

    Args:
        run: Of the training.
        config: As the command line gave it: what it allowed, and passwords, stand in no file.
    """
    if not run.held_out.stat().st_size:
        say(
            "not measured: no task was held out (eval_split_ratio, or too few tasks); "
            f"atlas evaluate {run.final} tasks=… does it"
        )
        return
    from atlas.cli.train.evaluate import evaluate
    from atlas.report import write_report

    unsaved = {"allow_targets": config.allow_targets, "student_base_url": config.student_base_url}
    words = [f"{name}={_word(value)}" for name, value in unsaved.items() if value is not None]
    evaluate(overrides=[str(run.path), *words])
    write_report(run.path)


def run_of(words: Sequence[str]) -> RunDir | None:
    """Return the run that is named in the place of teachers; None where none is.

    Raises:
        AtlasError: It is one whose teacher can't be measured so.
    """
    named = [word for word in words if "=" not in word]
    if len(named) != 1:
        return None
    try:
        run = RunDir.open(named[0])
    except AtlasError:
        return None  # a model's folder or name; or whatever else, which is told as one
    if run.kind == "quickstart":
        raise AtlasError(f"{run.path} measures itself as it goes; atlas resume {run.path}")
    if run.kind != "grpo":
        raise AtlasError(
            f"{run.path} is a run of {run.kind}, which knows no student; name its model: atlas "
            f"evaluate {run.final} student_model=… tasks=…"
        )
    if not run.held_out.is_file() or not run.held_out.stat().st_size:
        raise AtlasError(
            f"{run.path} keeps no held-out task ({run.held_out.name}); give some: atlas evaluate "
            f"{run.final} tasks=…"
        )
    return run


def words_of(run: RunDir) -> list[str]:
    """Return the words that measure a run's teacher as it was trained, on its held-out tasks."""
    from atlas.config import EvaluateConfig, keys_of
    from atlas.config.parts.run import RunConfig
    from atlas.config.parts.sampling import DialogueConfig
    from atlas.config.parts.student import StudentConfig
    from atlas.yaml_file import read_yaml

    kept = read_yaml(run.config)
    # What a file names isn't allowed by that: a student of the user's own code is allowed anew.
    parts = (DialogueConfig, StudentConfig, RunConfig)
    shared = {name for part in parts for name in keys_of(part)} - {"output_dir", "allow_targets"}
    worked = kept.get("max_steps", _USUAL) * kept.get("prompts_per_step", 1)
    words = {
        **{name: kept[name] for name in keys_of(EvaluateConfig) if name in shared & kept.keys()},
        "tasks": str(run.held_out),
        "num_tasks": min(kept.get("evaluate_tasks") or _USUAL, worked),
        "output_dir": str(run.measured),
        "teachers": [str(run.final)],
    }
    return [f"{name}={_word(value)}" for name, value in words.items()]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
