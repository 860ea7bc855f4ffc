"""The configured reward: its composition, and the scorers of its parts."""

from __future__ import annotations

from collections.abc import Mapping

from atlas.config.grpo import GRPOConfig
from atlas.config.parts.reward import RewardConfig
from atlas.rewards.composition import OWN, Part, Reward, Scorer, parts_of
from atlas.rewards.overlong import Overlong
from atlas.rewards.own import load_reward
from atlas.rewards.uplift import UpliftWeights


def uplift_weights(config: RewardConfig) -> UpliftWeights:
    """Return the weights inside uplift."""
    return UpliftWeights(
        dense=config.reward_dense_weight,
        degrade_penalty=config.reward_degrade_penalty,
        tokens=config.reward_token_bonus,
    )


def configured_reward(config: GRPOConfig, judges: Mapping[str, Scorer] | None = None) -> Reward:
    """Return the reward, with a scorer for each of its parts besides the verifier's.

    Args:
        config: The keys that begin with ``reward``.
        judges: The scorers of judges that are set up, by the name of their part (``rim``).

    Raises:
        AtlasError: The user's function can't be used, or judges are needed and there are none.
    """
    scorers = dict(judges or {})
    own: Part | None = None
    if config.reward_function is not None:
        scorers[OWN] = load_reward(config.reward_function, config.allow_targets or ())
        own = Part(
            name=OWN,
            weight=config.reward_function_weight,
            cap=config.reward_function_cap,
            gate="right" if config.reward_function_gated else "always",
            required=config.reward_function_required,
        )
    parts = parts_of(
        config.reward,
        available=set(scorers),
        judge_weight=config.reward_judge_weight,
        judge_gated=config.reward_judge_gated,
        own=own,
    )
    used = {part.name for part in parts}
    overlong = Overlong(
        limit=config.max_new_tokens,
        buffer=config.overlong_buffer,
        weight=config.overlong_penalty,
    )
    return Reward(
        parts=parts,
        scorers={name: scorer for name, scorer in scorers.items() if name in used},
        overlong=overlong if config.overlong_buffer else None,
    )
