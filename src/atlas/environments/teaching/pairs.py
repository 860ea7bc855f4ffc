"""The same held-out tasks without and with teaching.

Input: a student, a teacher, tasks. Output: one `PairedOutcome` a task.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.environments.teaching.dialogue import Student, Teacher, teach_and_attempt
from atlas.rewards.leaks.find import find_leak
from atlas.rewards.verifiers import outcomes
from atlas.types import PairedOutcome, Task


def evaluate_pairs(
    arm: str, student: Student, teacher: Teacher, tasks: Sequence[Task], *, seed: int
) -> list[PairedOutcome]:
    """Return how the student does on each task, alone and after one teaching.

    Args:
        arm: The name of the teacher in what follows.
        student: Its work alone is computed once and shared by all arms.
        teacher: Draws one teaching a task, with the sampling that it was trained with.
        tasks: Held out from all training.
        seed: Of the teachings.
    """
    alone = student.alone(tasks)
    taught = teach_and_attempt(teacher, student, tasks, num_samples=1, seed=seed)
    before_all = outcomes(tasks, [one.baseline for one in alone])
    after_all = outcomes(tasks, [pair.attempt for (pair,) in taught])
    return [
        PairedOutcome(
            task=task,
            arm=arm,
            alone=baseline,
            taught=attempt,
            approach=before.approach.text,
            teaching=pair.teaching.text,
            num_teaching_tokens=pair.teaching.num_tokens,
            leaked=find_leak(task, pair.teaching.text) is not None,
        )
        for task, before, (pair,), baseline, attempt in zip(
            tasks, alone, taught, before_all, after_all, strict=True
        )
    ]
