"""The configured teaching: ``environment=teaching``."""

from __future__ import annotations

from atlas.environments.environment import Context
from atlas.environments.loading import load_student
from atlas.environments.students.baselines import Baselines, baseline_key
from atlas.environments.teaching.plan import PlanTeaching
from atlas.errors import AtlasError
from atlas.rewards.configured import configured_reward, uplift_weights
from atlas.rewards.judges.training import TrainingJudges


def teaching(context: Context) -> PlanTeaching:
    """Return the environment in which the policy teaches the configured student.

    Raises:
        AtlasError: The student can't be loaded or reached, or the reward can't be used.
    """
    config = context.config
    if config.student_model is None:
        raise AtlasError("student_model is missing: environment=teaching needs a student to teach")
    judges = TrainingJudges(
        config,
        spent=(context.state or {}).get("judges"),
        explanations=context.run.path / "rim_explanations.jsonl",
        ranks=context.ranks,
    )
    student = load_student(
        config.student_model,
        max_new_tokens=config.student_max_new_tokens,
        approach_tokens=config.approach_max_new_tokens,
        prompts=context.renderer.prompts,
        answer_format=config.answer_format,
        dtype=context.dtype,
        likelihood=True,
        servers=config,
        say=context.say,
    )
    key = baseline_key(
        config.student_model,
        context.renderer.prompts,
        max_new_tokens=config.student_max_new_tokens,
        approach_max_new_tokens=config.approach_max_new_tokens,
        dtype=str(context.dtype),
    )
    return PlanTeaching(
        context.renderer,
        Baselines(student, folder=context.run.student_alone, key=key),
        approach_tokens=config.approach_max_new_tokens,
        weights=uplift_weights(config),
        reward=configured_reward(config, judges.scorers),
        judges=judges,
        ranks=context.ranks,
        progress=context.progress,
    )
