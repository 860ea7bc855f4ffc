"""Configuration of what a training is held against: the guide's marks of success, the doctor."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Self

from atlas.config.grammar.schema import Part, key
from atlas.errors import AtlasError

OnUnhealthy = Literal["warn", "pause", "stop"]


@dataclass(frozen=True, kw_only=True)
class GoalsConfig(Part):
    """What is said to be healthy; nothing that is learned depends on it."""

    on_unhealthy: OnUnhealthy = key(
        "warn",
        "What happens when the doctor finds something wrong while a training goes on. warn: a line "
        "in the log, once for each finding; pause: that line, a checkpoint, and the end of the "
        "command (exit code 1), which goes on when it is given again; stop: the same (exit code "
        "130), and a run that goes on stops again for as long as the finding stands.",
    )
    goal_grad_norm: float = key(
        5.0, "A mean gradient norm above this, before clipping, is said to be too high.", gt=0
    )


@dataclass(frozen=True, kw_only=True)
class LossGoalsConfig(GoalsConfig):
    """Of a training whose loss means something by itself."""

    goal_loss: float = key(
        1.5, "A loss at the end above this is said to be too high, in nats a token.", gt=0
    )


@dataclass(frozen=True, kw_only=True)
class TeachingGoalsConfig(GoalsConfig):
    """Of a training that is rewarded."""

    goal_kl_low: float = key(
        0.5, "Below this KL, in nats a sequence, the policy is said to have hardly moved.", ge=0
    )
    goal_kl_high: float = key(2.0, "Above this KL it is said to have moved too far.", gt=0)
    goal_kl_collapse: float = key(5.0, "Above this KL it is said to collapse.", gt=0)
    goal_non_degradation: float = key(
        0.95, "A share of answers no worse than alone that is below this is said.", ge=0, le=1
    )
    goal_non_degradation_least: float = key(
        0.9, "Below this share it is said that something is wrong.", ge=0, le=1
    )
    goal_plateau_steps: int = key(
        30, "A reward that has not risen over so many logged steps is said to be a plateau.", ge=6
    )

    def resolved(self, given: Collection[str], world_size: int) -> Self:
        """Refuse bounds that cross."""
        del given, world_size
        bounds = (self.goal_kl_low, self.goal_kl_high, self.goal_kl_collapse)
        if list(bounds) != sorted(bounds):
            raise AtlasError(
                f"goal_kl_low={bounds[0]:g}, goal_kl_high={bounds[1]:g} and "
                f"goal_kl_collapse={bounds[2]:g} must rise in this order"
            )
        if self.goal_non_degradation_least > self.goal_non_degradation:
            raise AtlasError(
                f"goal_non_degradation_least={self.goal_non_degradation_least:g} must not be above "
                f"goal_non_degradation={self.goal_non_degradation:g}"
            )
        return self
