"""The configured teaching: ``environment=teaching``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from atlas.config.parts.student import ACTING, DECISIVE
from atlas.endpoint.budget import Usage
from atlas.environments.environment import Context
from atlas.environments.loading import configured_student
from atlas.environments.students.baselines import Baselines, baseline_key
from atlas.environments.teaching.plan import PlanTeaching
from atlas.environments.teaching.protocol import teaching_by
from atlas.errors import AtlasError
from atlas.rewards.configured import configured_reward, uplift_weights
from atlas.rewards.judges.training import TrainingJudges


def teaching(context: Context) -> PlanTeaching:
    """Return the environment in which the policy teaches the configured student.

    Raises:
        AtlasError: The student can't be loaded or reached, or the reward can't be used.
    """
    config = context.config
    prompts = context.renderer.prompts
    if config.student == "model" and config.student_model is None:
        raise AtlasError("student_model is missing: environment=teaching needs a student to teach")
    state = context.state or {}
    judges = TrainingJudges(
        config,
        spent=state.get("judges"),
        explanations=context.run.path / "rim_explanations.jsonl",
        ranks=context.ranks,
    )
    student = configured_student(
        config,
        prompts,
        dtype=context.dtype,
        likelihood=True,
        errors=context.run.student_errors,
        spent=Usage(**(state.get("student") or {})).part(context.ranks.size),
        parts=context.ranks.size,
        say=context.say,
    )
    weights = uplift_weights(config)
    if weights.dense and not student.has_likelihood:
        who = "with tools" if config.has_tools else f"of the kind {config.student}"
        context.say(
            f"a student {who} has no log-probabilities of answers: the dense part of the reward "
            "(reward_dense_weight) is off"
        )
        weights = replace(weights, dense=0.0)
    return teaching_by(
        config,
        context.renderer,
        Baselines(student, folder=context.run.student_alone, key=_key(context)),
        approach_tokens=config.approach_max_new_tokens,
        weights=weights,
        verdict_weight=config.verdict_weight,
        reward=configured_reward(config, judges.scorers),
        judges=judges,
        ranks=context.ranks,
        progress=context.progress,
    )


def _key(context: Context) -> str:
    """Return what names the student and all that decides how it answers."""
    config = context.config
    settings: dict[str, Any] = {
        "max_new_tokens": config.student_max_new_tokens,
        "approach_max_new_tokens": config.approach_max_new_tokens,
    }
    if config.has_tools:
        settings |= {name: getattr(config, name) for name in sorted(ACTING)}
        settings["told"] = context.renderer.prompts.only(["tools", "tool_result"]).digest
    if config.student == "model":
        settings["dtype"] = str(context.dtype)
    else:
        decisive = {name: getattr(config, name) for name in sorted(DECISIVE)}
        kwargs = context.renderer.prompts.template_kwargs("student")
        settings |= {"asked": decisive, "kwargs": kwargs}
    return baseline_key(config.student_name, context.renderer.prompts, **settings)
