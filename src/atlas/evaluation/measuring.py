"""Teachers measured on held-out tasks, chunk by chunk, so that a stopped run goes on.

Input: arms (teachers by name), a student, tasks. Output: the `PairedOutcome`s of every arm, in the
order of arms and tasks. A chunk that is finished lies in a file of its own until all are there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from atlas.environments.teaching.dialogue import Student, Teacher
from atlas.environments.teaching.pairs import evaluate_pairs
from atlas.errors import AtlasError
from atlas.evaluation.pairs_file import read_pairs, write_pairs
from atlas.run.progress import Progress
from atlas.run.seeding import derive_seed
from atlas.run.stopping import StopRequest
from atlas.types import PairedOutcome, Task


def arm_names(folders: Sequence[str]) -> list[str]:
    """Return what the teachers in these folders are called: the folder that says most.

    ``runs/quickstart/sft/final`` is ``sft``, ``results/rl_checkpoint`` is ``rl_checkpoint``.

    Raises:
        AtlasError: Two would have the same name.
    """
    names = []
    for folder in folders:
        parts = [part for part in Path(folder).parts if part not in ("final", "/", "..")]
        names.append(parts[-1] if parts else folder)
    for name, folder in zip(names, folders, strict=True):
        if names.count(name) > 1:
            raise AtlasError(
                f"two teachers would be called {name} ({folder} is one); give one of them by a "
                "link with another name"
            )
    return names


def measure(
    arms: Mapping[str, Callable[[], Teacher]],
    student: Student,
    tasks: Sequence[Task],
    *,
    seed: int,
    chunk_size: int,
    pieces: Path,
    progress: Progress,
    stop: StopRequest,
) -> list[PairedOutcome]:
    """Return how the student does with every teacher, and alone.

    Args:
        arms: A teacher is loaded when its turn comes, and let go after it.
        student: What it does alone is computed once.
        tasks: Held out from all training.
        seed: Of the teachings; the same chunk gets the same teachings in every run.
        chunk_size: Tasks at a time.
        pieces: Folder of finished chunks, gone at the end.
        progress: Counts tasks, those of all arms together.
        stop: Asked between chunks.

    Raises:
        Stopped: The user asked to stop; the next call goes on.
    """
    progress.begin(len(tasks) * len(arms))
    pairs: list[PairedOutcome] = []
    for arm, load in arms.items():
        teacher: Teacher | None = None
        for start in range(0, len(tasks), chunk_size):
            chunk = tasks[start : start + chunk_size]
            piece = pieces / f"{arm}-{start}.jsonl"
            if piece.is_file():
                pairs += read_pairs(piece)
                progress.advance(len(chunk), note="measured before")
                continue
            stop.check()
            teacher = teacher or load()
            found = evaluate_pairs(
                arm, student, teacher, chunk, seed=derive_seed(seed, "evaluate", start)
            )
            write_pairs(piece, found)
            pairs += found
            progress.advance(len(chunk), note=f"with the {arm} teacher")
    shutil.rmtree(pieces, ignore_errors=True)
    return pairs
