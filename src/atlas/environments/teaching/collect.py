"""Sessions of a teacher and a student on tasks, recorded: what ``atlas collect`` does.

Input: a configuration, a `Collection`. Output: a session for each task in the collection. Chunks of
tasks are recorded as a whole, and a task that is recorded is not worked again, so that whatever
stops this, the same call goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from atlas.config.collect import CollectConfig
from atlas.config.grammar.schema import keys_of
from atlas.config.parts.student import DECISIVE, PACE
from atlas.data.task_file import read_tasks
from atlas.data.tasks import mixed_tasks
from atlas.environments.actor import Actor
from atlas.environments.loading import configured_student, load_actor
from atlas.environments.rollout import roll_out
from atlas.environments.students.baselines import Baselines
from atlas.environments.teaching.plan import PlanTeaching
from atlas.environments.teaching.protocol import teaching_by
from atlas.models.checkpoints import check_model
from atlas.models.identity import model_digest
from atlas.models.prompts import ELSEWHERE, configured_prompts
from atlas.prompts import Prompts
from atlas.rewards.verifiers import accepts_reference
from atlas.rollouts.generator import Sampling
from atlas.run.progress import Progress
from atlas.run.seeding import derive_seed
from atlas.run.stopping import StopRequest
from atlas.traces.collection import Collection
from atlas.traces.record import sessions_from_lessons
from atlas.types import Task

# Where things go and how fast decides nothing about the sessions; tasks and prompts count
# themselves.
_BESIDE_THE_POINT = frozenset(
    {"output_dir", "db_url", "output", "learning_key", "logging_steps", "num_threads"}
    | {"tasks", "num_tasks", "families", "prompts", "allow_targets"}
    | PACE
)


def tasks_to_collect(config: CollectConfig) -> list[Task]:
    """Return the tasks of a configuration, in the order in which they are worked.

    Raises:
        AtlasError: A family doesn't exist or is too small; or the file of tasks is broken, or an
            answer in it isn't accepted by the task's own verifier.
    """
    if config.tasks:
        return read_tasks(config.tasks, limit=config.num_tasks, check=accepts_reference)
    assert config.num_tasks is not None  # resolved
    seed = derive_seed(config.seed, "collect")
    return mixed_tasks(config.families, config.num_tasks, seed=seed)


def learning_key(config: CollectConfig, tasks: Sequence[Task], prompts: Prompts) -> str:
    """Return what names the sessions: given, or made of all that decides what is in them."""
    if config.learning_key:
        return config.learning_key
    settings = {
        name: getattr(config, name)
        for name, info in keys_of(CollectConfig).items()
        if name not in _BESIDE_THE_POINT
        # Of a student elsewhere what is given: there were collections before there were such.
        and not (name in DECISIVE - {"student_model"} and getattr(config, name) == info.default)
    }
    asked = [[task.id, task.answer, task.family] for task in tasks]
    models = [model_digest(name) for name in (config.teacher_model, config.student_here) if name]
    decisive = json.dumps([settings, models, asked, prompts.digest])
    return f"collect-{hashlib.sha256(decisive.encode()).hexdigest()[:12]}"


def check_models(config: CollectConfig) -> None:
    """Look whether the two models are there, before anything is begun.

    Raises:
        AtlasError: One isn't.
    """
    for folder in filter(None, (config.teacher_model, config.student_here)):
        check_model(folder)


def collect(
    config: CollectConfig,
    tasks: Sequence[Task],
    collection: Collection,
    *,
    learning_key: str,
    prompts: Prompts,
    progress: Progress,
    stop: StopRequest,
    errors: Path | None = None,
) -> None:
    """Record sessions of the teacher and the student on every task that has none yet.

    Args:
        tasks: As ``tasks_to_collect`` gives them.
        collection: Where the sessions go.
        learning_key: Names them.
        prompts: What teacher and student are asked.
        errors: The file for what an agent raises.

    Raises:
        Stopped: The user asked to stop; what was recorded stays.
    """
    recorded = collection.recorded()
    seed = derive_seed(config.seed, "collect")
    progress.begin(len(tasks))
    cast: tuple[PlanTeaching, Actor] | None = None
    with contextlib.ExitStack() as held:
        for start in range(0, len(tasks), config.chunk_size):
            chunk = tasks[start : start + config.chunk_size]
            missing = [task for task in chunk if task.id not in recorded]
            progress.advance(len(chunk) - len(missing), note="recorded before")
            if not missing:
                continue
            stop.check()
            if cast is None:
                cast = teacher_and_student(config, prompts, progress.say, errors)
                held.enter_context(contextlib.closing(cast[0]))
            groups = roll_out(
                *cast, missing, seed=derive_seed(seed, start), num_samples=config.samples_per_task
            )
            lessons = [lesson for group in groups for lesson in group]
            made = [one for one in lessons if not (one.alone.abstained or one.attempt.abstained)]
            if len(made) < len(lessons):
                progress.say(
                    f"{len(lessons) - len(made)} of {len(lessons)} sessions are missing: the "
                    "student gave no answer; the same command asks it again"
                )
            collection.add(sessions_from_lessons(made, learning_key=learning_key))
            progress.advance(len(missing), note="sessions recorded")


def collecting_prompts(config: CollectConfig) -> Prompts:
    """Return what teacher and student are asked.

    Raises:
        AtlasError: A file isn't a prompt.
    """
    student = config.student_here or ELSEWHERE
    return configured_prompts(config, teacher=config.teacher_model, student=student)


def teacher_and_student(
    config: CollectConfig, prompts: Prompts, say: Callable[[str], None], errors: Path | None = None
) -> tuple[PlanTeaching, Actor]:
    """Load the two models: the environment with the student, and the teacher that acts in it.

    Args:
        prompts: What both are asked.
        say: Told where prompts don't reach a model as they are written.
        errors: The file for what an agent raises.

    Raises:
        AtlasError: One can't be loaded.
    """
    teacher = load_actor(config.teacher_model, Sampling.of(config), prompts=prompts, say=say)
    student = configured_student(config, prompts, errors=errors, say=say)
    return teaching_by(config, teacher.renderer, Baselines(student)), teacher
