"""Which way of teaching a configuration names: by plan, by review, or both."""

from __future__ import annotations

from typing import Any

from atlas.config.parts.sampling import DialogueConfig
from atlas.environments.students.baselines import Baselines
from atlas.environments.teaching.plan import PlanTeaching
from atlas.environments.teaching.review import ReviewTeaching
from atlas.prompts.renderer import Renderer


def teaching_by(
    config: DialogueConfig, renderer: Renderer, baselines: Baselines, **more: Any
) -> PlanTeaching:
    """Return the environment in which a teacher teaches as ``teaching`` says.

    Args:
        config: Names it, and how often an attempt is reviewed.
        renderer: How the teacher is spoken to.
        baselines: Of the student.
        more: Further arguments of `PlanTeaching`, and ``verdict_weight`` of `ReviewTeaching`.
    """
    if config.teaching == "plan":
        more.pop("verdict_weight", None)
        return PlanTeaching(renderer, baselines, **more)
    plans = config.teaching == "plan_review"
    return ReviewTeaching(renderer, baselines, max_rounds=config.max_rounds, plans=plans, **more)
