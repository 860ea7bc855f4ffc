"""One lesson: a question answered by a student alone, and after a teaching.

Input: a question and two models. Output: a `Lesson`.

Example:
    >>> from atlas.environments.teaching.one_lesson import give_lesson
    >>> lesson = give_lesson("Calculate 7 - 3 + 5.")              # doctest: +SKIP
    >>> lesson.teaching.text                                      # doctest: +SKIP
    'A = 7 - 3. B = A + 5. Answer B.'
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from atlas.environments.teaching.dialogue import Student, Teacher, teach_and_attempt
from atlas.errors import AtlasError
from atlas.machine.precision import training_device
from atlas.models.checkpoints import load_model, load_tokenizer
from atlas.rollouts.generator import Sampling
from atlas.rollouts.local.engine import LocalGenerator
from atlas.types import Completion, Task

DEFAULT_TEACHER = "results/rl_checkpoint"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """What was said, in order."""

    alone: Completion
    approach: Completion
    teaching: Completion
    taught: Completion


def give_lesson(
    question: str,
    *,
    teacher: str = DEFAULT_TEACHER,
    student: str = "base",
    max_new_tokens: int = 128,
) -> Lesson:
    """Let a student answer a question alone, then teach it and let it try again.

    Args:
        question: Any text; both models answer greedily.
        teacher: Model folder or hub id.
        student: Model folder or hub id; ``base`` is the model that ships with Atlas.
        max_new_tokens: Longest answer and longest teaching.

    Raises:
        AtlasError: The question is empty, or a model can't be loaded.
    """
    if not question.strip():
        raise AtlasError(
            'the question is empty; ask one, as in: atlas teach "Calculate 7 - 3 + 5."'
        )
    if teacher == DEFAULT_TEACHER and not Path(teacher).is_dir():
        raise AtlasError(f"{teacher} isn't there; run make quickstart first, or name a teacher")
    sampling = Sampling(max_new_tokens=max_new_tokens)
    device = training_device()
    teacher_tokenizer, student_tokenizer = load_tokenizer(teacher), load_tokenizer(student)
    learner = Student(
        LocalGenerator(load_model(student, device=device), student_tokenizer),
        student_tokenizer,
        sampling,
    )
    guide = Teacher(
        LocalGenerator(load_model(teacher, device=device), teacher_tokenizer),
        teacher_tokenizer,
        sampling,
    )
    task = Task(question=question.strip(), answer="", family="")
    ((pair,),) = teach_and_attempt(guide, learner, [task], num_samples=1, seed=0)
    (alone,) = learner.alone([task])
    return Lesson(
        alone=alone.baseline, approach=alone.approach, teaching=pair.teaching, taught=pair.attempt
    )
