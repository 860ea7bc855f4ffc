"""One lesson: a question answered by a student alone, and after a teaching.

Input: a question and two models. Output: a `Lesson`.

Example:
    >>> from atlas.environments.teaching.one_lesson import give_lesson
    >>> lesson = give_lesson("Calculate 7 - 3 + 5.")              # doctest: +SKIP
    >>> lesson.teaching.text                                      # doctest: +SKIP
    'A = 7 - 3. B = A + 5. Answer B.'
"""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

from atlas.config.evaluate import EvaluateConfig
from atlas.config.grammar.schema import keys_of
from atlas.config.parts.sampling import TeachingKind
from atlas.config.parts.student import StudentConfig
from atlas.environments.loading import configured_student, load_actor
from atlas.environments.rollout import act
from atlas.environments.students.baselines import Baselines
from atlas.environments.teaching.protocol import teaching_by
from atlas.errors import AtlasError
from atlas.models.prompts import ELSEWHERE, chosen_prompts
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
    elsewhere: StudentConfig | None = None,
    teaching: TeachingKind = "plan",
) -> Lesson:
    """Let a student answer a question alone, then teach it and let it try again.

    Args:
        question: Any text; both models answer greedily.
        teacher: Model folder or hub id.
        student: Model folder or hub id; ``base`` is the model that ships with Atlas.
        max_new_tokens: Longest answer and longest teaching.
        prompts: What both are asked, as the key ``prompts`` of a configuration.
        elsewhere: The student in place of ``student``, where it is an endpoint or an agent.
        teaching: By plan or by review, as the key ``teaching`` of a configuration.

    Raises:
        AtlasError: The question is empty, a model can't be loaded, or the student can't be reached.
    """
    if not question.strip():
        raise AtlasError(
            'the question is empty; ask one, as in: atlas teach "Calculate 7 - 3 + 5."'
        )
    if teacher == DEFAULT_TEACHER and not Path(teacher).is_dir():
        raise AtlasError(f"{teacher} isn't there; run make quickstart first, or name a teacher")
    said = elsewhere or StudentConfig(student_model=student)
    config = EvaluateConfig(
        teachers=(teacher,),
        temperature=0,
        max_new_tokens=max_new_tokens,
        student_max_new_tokens=max_new_tokens,
        approach_max_new_tokens=math.ceil(max_new_tokens / _PER_APPROACH),
        prompts=prompts,
        teaching=teaching,
        **{name: getattr(said, name) for name in keys_of(StudentConfig)},
    )
    where = config.student_here or ELSEWHERE
    asked = chosen_prompts(prompts, teacher=teacher, student=where)
    guide = load_actor(teacher, Sampling(max_new_tokens=max_new_tokens), prompts=asked)
    task = Task(question=question.strip(), answer="", family="")
    with contextlib.closing(configured_student(config, asked)) as learner:
        environment = teaching_by(config, guide.renderer, Baselines(learner))
        ((lesson,),) = act(environment, guide, [task], seed=0)
    return lesson
