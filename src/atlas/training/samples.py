"""Scored episodes to the samples of an update, each with its advantage.

Shapes: P prompts, G members of a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from atlas.objectives.advantages import AdvantageResult, AdvantageScale, group_advantages
from atlas.types import Episode, Tokens


def train_samples(
    groups: Sequence[Sequence[Episode]],
    *,
    scale: AdvantageScale,
    mask_truncated: bool,
    epsilon: float = 1e-4,
) -> tuple[list[Tokens], AdvantageResult]:
    """Return the samples of the update, members of a group side by side.

    Args:
        groups: All groups of the optimiser step.
        scale: What advantages are divided by.
        mask_truncated: Leave episodes that were cut out of the loss, but for those that were cut
            in their thoughts: what they are worth is known.
        epsilon: Added to what they are divided by, in units of reward.
    """
    values = [[episode.score.value for episode in group] for group in groups]
    rewards_PG = torch.tensor([[float("nan") if v is None else v for v in row] for row in values])
    result = group_advantages(rewards_PG, ~rewards_PG.isnan(), scale, epsilon)
    samples: list[Tokens] = []
    for p, group in enumerate(groups):
        for g, episode in enumerate(group):
            masked = mask_truncated and episode.truncated and not episode.turns[-1].withheld
            used = bool(result.used_PG[p, g]) and not masked
            advantage = float(result.advantages_PG[p, g]) if used else None
            samples += episode_tokens(episode, advantage)
    return samples, result


def episode_tokens(episode: Episode, advantage: float | None) -> list[Tokens]:
    """Return the turns of an episode to learn from, in as few rows as may be.

    That is one row, in which what the environment said is only read, where each prompt begins with
    all that was before. Where it doesn't (some templates take thoughts out of earlier turns), a
    turn begins a row of its own.
    """
    rows: list[Tokens] = []
    for turn in episode.turns:
        row = rows[-1] if rows else None
        if row is None or turn.prompt_ids[: len(row.ids)] != row.ids:
            rows.append(
                Tokens.of(
                    turn.prompt_ids,
                    turn.token_ids,
                    logprobs=turn.logprobs,
                    advantage=advantage,
                    source=episode.task.id,
                )
            )
            continue
        ids = (*turn.prompt_ids, *turn.token_ids)
        reply = (0.0,) * (len(turn.prompt_ids) - len(row.ids))
        rows[-1] = replace(
            row,
            ids=ids,
            trained=(*row.trained, (len(turn.prompt_ids), len(ids))),
            logprobs=(*row.logprobs, *reply, *turn.logprobs),
        )
    return rows
