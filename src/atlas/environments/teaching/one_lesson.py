"""One lesson: a question answered by a student alone, and after a teaching.

Input: a question and two models. Output: a `Lesson`.

Example:
    >>> from atlas.environments.teaching.one_lesson import give_lesson
    >>> lesson = give_lesson("Calculate 7 - 3 + 5.")              # doctest: +SKIP
    >>> lesson.teaching.text                                      # doctest: +SKIP
    'A = 7 - 3. B = A + 5. Answer B.'
"""

from __future__ import annotations

import math
from pathlib import Path

from atlas.environments.loading import load_actor, load_student
from atlas.environments.rollout import act
from atlas.environments.students.baselines import Baselines
from atlas.environments.teaching.plan import PlanTeaching
from atlas.errors import AtlasError
from atlas.models.prompts import chosen_prompts
from atlas.prompts.folder import AUTO
from atlas.rollouts.generator import Sampling
from atlas.types import Lesson, Task

DEFAULT_TEACHER = "results/rl_checkpoint"
_PER_APPROACH = 4
"""How much shorter than an answer an approach may be."""


def give_lesson(
    question: str,
    *,
    teacher: str = DEFAULT_TEACHER,
    student: str = "base",
    max_new_tokens: int = 128,
    prompts: str = AUTO,
) -> Lesson:
    """Let a student answer a question alone, then teach it and let it try again.

    Args:
        question: Any text; both models answer greedily.
        teacher: Model folder or hub id.
        student: Model folder or hub id; ``base`` is the model that ships with Atlas.
        max_new_tokens: Longest answer and longest teaching.
        prompts: What both are asked, as the key ``prompts`` of a configuration.

    Raises:
        AtlasError: The question is empty, or a model can't be loaded.
    """
    if not question.strip():
        raise AtlasError(
            'the question is empty; ask one, as in: atlas teach "Calculate 7 - 3 + 5."'
        )
    if teacher == DEFAULT_TEACHER and not Path(teacher).is_dir():
        raise AtlasError(f"{teacher} isn't there; run make quickstart first, or name a teacher")
    asked = chosen_prompts(prompts, teacher=teacher, student=student)
    guide = load_actor(teacher, Sampling(max_new_tokens=max_new_tokens), prompts=asked)
    learner = load_student(
        student,
        max_new_tokens=max_new_tokens,
        approach_tokens=math.ceil(max_new_tokens / _PER_APPROACH),
        prompts=asked,
    )
    task = Task(question=question.strip(), answer="", family="")
    ((lesson,),) = act(PlanTeaching(guide.renderer, Baselines(learner)), guide, [task], seed=0)
    return lesson
