"""Teachers measured on held-out tasks, chunk by chunk, so that a stopped run goes on.

Input: arms (teachers by name), tasks. Output: the `Lesson`s of every arm, in the order of arms and
tasks. A chunk that is finished lies in a file of its own until all are there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from atlas.config.evaluate import EvaluateConfig
from atlas.environments.actor import Actor
from atlas.environments.environment import Environment
from atlas.environments.loading import configured_student, load_actor
from atlas.environments.rollout import act
from atlas.environments.students.baselines import Baselines
from atlas.environments.teaching.protocol import teaching_by
from atlas.errors import AtlasError
from atlas.evaluation.claims import claims_table
from atlas.evaluation.claims_file import write_claims
from atlas.evaluation.pairs_file import read_pairs, write_pairs
from atlas.models.identity import model_digest
from atlas.models.prompts import ELSEWHERE, configured_prompts
from atlas.prompts import STUDENTS, Prompts
from atlas.prompts.folder import read_prompts
from atlas.rollouts.generator import Sampling
from atlas.run.inputs import changed_inputs, write_inputs
from atlas.run.progress import Progress
from atlas.run.prompts_kept import keep_prompts
from atlas.run.run_dir import RunDir
from atlas.run.seeding import derive_seed
from atlas.run.stopping import StopRequest
from atlas.types import Lesson, Task

Arm = tuple[Environment[Lesson], Actor]
"""Who is measured, and in which environment."""


def arm_names(folders: Sequence[str]) -> list[str]:
    """Return what the teachers in these folders are called: the folder that says most.

    ``runs/quickstart/sft/final`` is ``sft``, ``results/rl_checkpoint`` is ``rl_checkpoint``.

    Raises:
        AtlasError: Two would have the same name.
    """
    names = []
    for folder in folders:
        parts = [part for part in Path(folder).parts if part not in ("final", "adapter", "/", "..")]
        names.append(parts[-1] if parts else folder)
    for name, folder in zip(names, folders, strict=True):
        if names.count(name) > 1:
            raise AtlasError(
                f"two teachers would be called {name} ({folder} is one); give one of them by a "
                "link with another name"
            )
    return names


def measure(
    arms: Mapping[str, Callable[[], Arm]],
    tasks: Sequence[Task],
    *,
    seed: int,
    chunk_size: int,
    pieces: Path,
    progress: Progress,
    stop: StopRequest,
) -> list[Lesson]:
    """Return what came of every task with every arm.

    Args:
        arms: An arm is loaded when its turn comes, and let go after it.
        tasks: Held out from all training.
        seed: Of the sampling; the same chunk is sampled alike in every run.
        chunk_size: Tasks at a time.
        pieces: Folder of finished chunks, gone at the end.

    Raises:
        Stopped: The user asked to stop; the next call goes on.
    """
    progress.begin(len(tasks) * len(arms))
    lessons: list[Lesson] = []
    for name, load in arms.items():
        arm: Arm | None = None
        for start in range(0, len(tasks), chunk_size):
            chunk = tasks[start : start + chunk_size]
            piece = pieces / f"{name}-{start}.jsonl"
            note = "measured before"
            if not piece.is_file():
                stop.check()
                arm = arm or load()
                groups = act(*arm, chunk, seed=derive_seed(seed, "evaluate", start))
                write_pairs(piece, [replace(lesson, arm=name) for (lesson,) in groups])
                note = f"with {name}"
            lessons += read_pairs(piece)
            progress.advance(len(chunk), note=note)
    shutil.rmtree(pieces, ignore_errors=True)
    return lessons


def arms_prompts(
    run: RunDir, config: EvaluateConfig, arms: Mapping[str, str]
) -> dict[str, Prompts]:
    """Return what each teacher and the student are asked.

    Args:
        run: Keeps ``prompts/ARM``, for when the place that they came from is gone.
        config: Names prompts and student.
        arms: Folders of teachers, by name.

    Raises:
        AtlasError: A file isn't a prompt, or two teachers were trained with a student that read
            other prompts.
    """
    found: dict[str, Prompts] = {}
    for name, folder in arms.items():
        try:
            found[name] = configured_prompts(
                config,
                teacher=folder,
                student=config.student_here or ELSEWHERE,
                others=arms.values(),
            )
        except AtlasError:
            if not (run.prompts / name).is_dir():
                raise
            found[name] = read_prompts(run.prompts / name)
        first = next(iter(found))
        if found[name].only(STUDENTS) != found[first].only(STUDENTS):
            raise AtlasError(
                f"the student of {name} was asked otherwise than that of {first}; measure them "
                "apart, or say what it is asked with prompts=plain, prompts=chat or a folder"
            )
    return found


def forget_outdated(
    run: RunDir,
    config: EvaluateConfig,
    arms: Mapping[str, str],
    tasks: Sequence[Task],
    *,
    say: Callable[[str], None],
) -> None:
    """Delete results, finished or not, of other models, tasks or prompts than those of now.

    Settings are the run directory's business, which is taken up with the same ones only.

    Args:
        run: Keeps what its results are of.
        config: Names prompts and student.
        arms: Folders of teachers, by name.
        tasks: That the arms are measured on.
        say: Told what has changed.

    Raises:
        AtlasError: As for `arms_prompts`.
    """
    asked = [[task.id, task.answer, task.family, dict(task.metadata)] for task in tasks]
    here = config.student_here
    student = model_digest(here) if here else _sha256(config.student_name)
    now = {"student": student, "tasks": _sha256(asked)}
    now |= {f"teacher {name}": model_digest(folder) for name, folder in arms.items()}
    prompts = arms_prompts(run, config, arms)
    now |= {f"prompts of {name}": one.digest for name, one in prompts.items()}
    folder = run.pairs.parent
    changed = changed_inputs(folder, now)
    if changed == []:
        return
    if folder.exists():
        what = f"{', '.join(changed)} changed" if changed else "nothing says what they are of"
        say(f"the results that were there are dropped, all is measured anew: {what}")
    run.forget_stage("evaluate")
    for place in (folder, run.prompts):
        shutil.rmtree(place, ignore_errors=True)
    for name, one in prompts.items():
        keep_prompts(run.prompts / name, one)
    write_inputs(folder, now)


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def evaluate(
    run: RunDir,
    config: EvaluateConfig,
    arms: Mapping[str, str],
    tasks: Sequence[Task],
    *,
    progress: Progress,
    stop: StopRequest,
) -> Mapping[str, Any]:
    """Measure the arms on held-out tasks, and write pairs and claims; a stopped run goes on.

    Args:
        config: Who is measured, and how all sample.
        arms: Folders of teachers, by name.
        tasks: Held out from all training.

    Raises:
        Stopped: The user asked to stop.
    """
    say = run.teller("evaluate", progress)
    forget_outdated(run, config, arms, tasks, say=say)
    prompts = arms_prompts(run, config, arms)
    asked = next(iter(prompts.values()))
    student = configured_student(config, asked, errors=run.student_errors, say=say)
    baselines = Baselines(student)

    def load(name: str) -> Arm:
        teacher = load_actor(arms[name], Sampling.of(config), prompts=prompts[name], say=say)
        return teaching_by(config, teacher.renderer, baselines), teacher

    with contextlib.closing(student):
        lessons = measure(
            {name: partial(load, name) for name in arms},
            tasks,
            seed=config.seed,
            chunk_size=config.chunk_size,
            pieces=run.pieces,
            progress=progress,
            stop=stop,
        )
    table = claims_table(lessons)
    write_pairs(run.pairs, lessons)
    write_claims(run.claims, table)
    return {"tasks": len(tasks), "arms": list(arms)}
