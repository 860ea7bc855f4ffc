"""Which way of teaching a configuration names: by plan, at every step, by review, or both."""

from __future__ import annotations

from typing import Any

from atlas.config.collect import CollectConfig
from atlas.config.evaluate import EvaluateConfig
from atlas.config.grpo import GRPOConfig
from atlas.environments.students.baselines import Baselines
from atlas.environments.teaching.plan import PlanTeaching
from atlas.environments.teaching.review import ReviewTeaching
from atlas.environments.teaching.steps import StepTeaching
from atlas.prompts.renderer import Renderer


def teaching_by(
    config: GRPOConfig | CollectConfig | EvaluateConfig,
    renderer: Renderer,
    baselines: Baselines,
    **more: Any,
) -> PlanTeaching:
    """Return the environment in which a teacher teaches as ``teaching`` says.

    Args:
        config: Names it, and how often an attempt is reviewed, or a teacher speaks.
        renderer: How the teacher is spoken to.
        baselines: Of the student.
        more: Further arguments of `PlanTeaching`, and ``verdict_weight`` of `ReviewTeaching`.
    """
    if config.teaching == "plan":
        more.pop("verdict_weight", None)
        by_plan = StepTeaching if config.teaching_at == "every_step" else PlanTeaching
        return by_plan(renderer, baselines, **more)
    plans = config.teaching == "plan_review"
    return ReviewTeaching(renderer, baselines, max_rounds=config.max_rounds, plans=plans, **more)
