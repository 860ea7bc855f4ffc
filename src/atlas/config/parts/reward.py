"""Configuration of the reward of a teaching: its parts, their weights, and what is watched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atlas.config.grammar.schema import Part, key

RewardPreset = Literal["uplift", "rim_offline", "hybrid"]


@dataclass(frozen=True, kw_only=True)
class RewardConfig(Part):
    """How teachings are rewarded; ``configs/trainer/reward`` holds the presets."""

    reward: RewardPreset = key(
        "hybrid",
        "uplift: what the teaching does to the student, verified. rim_offline: the judges alone. "
        "hybrid: uplift and judges; without judges it is uplift.",
    )
    reward_dense_weight: float = key(
        0.1,
        "Weight of the gain in likelihood of the reference answer; gives equal groups a signal.",
        ge=0,
    )
    reward_degrade_penalty: float = key(
        0.5, "Taken off when a task that was right alone is wrong with teaching.", ge=0
    )
    reward_token_bonus: float = key(
        0.1, "Given in part for right answers that take fewer tokens, teaching included.", ge=0
    )
    verdict_weight: float = key(
        0.5,
        "What a true verdict of a verifying teacher earns and a false one costs (teaching=review).",
        ge=0,
    )
    rim_config: str | None = key(
        None,
        "Configuration file of the judges, the config_path of teacher_reward; null: no judges.",
    )
    reward_judge_weight: float = key(
        0.5, "Weight of the judges' score, 0 to 1, beside uplift (hybrid).", ge=0
    )
    reward_judge_gated: bool = key(
        True, "Judges give nothing where the taught answer is wrong by the verifier (hybrid)."
    )
    reward_function: str | None = key(
        None,
        "A reward of your own, as module.function; it runs only if allow_targets on the command "
        "line names it too. Its signature is in docs/rewards.md.",
    )
    reward_function_weight: float = key(1.0, "Weight of that function's value.")
    reward_function_cap: float = key(
        1.0, "That function's value is cut to this on either side of 0.", gt=0
    )
    reward_function_gated: bool = key(
        False, "That function gives nothing where the taught answer is wrong by the verifier."
    )
    reward_function_required: bool = key(
        True,
        "Where that function abstains, the whole reward does. Off: its group's mean stands in.",
    )
    canary_tasks: int = key(
        0, "Held-out tasks that the teacher is watched on; its reward rising alone is told.", ge=0
    )
    canary_steps: int = key(20, "Optimiser steps between two looks at them.", ge=1)
