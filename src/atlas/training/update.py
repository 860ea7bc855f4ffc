"""Samples to one optimiser step of GRPO, in micro-batches of whole groups.

Input: the step's `TrainSample`s. Output: an updated policy and the step's metrics. Every share of
the loss has the step's own denominator, so that the cut into micro-batches changes nothing.

Shapes: B rows, T completion tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby

import torch
from transformers import PreTrainedModel

from atlas.objectives.loss import LossInputs, grpo_loss
from atlas.objectives.loss_types import LossSettings
from atlas.objectives.reduction import StepCounts
from atlas.runtime.engine.protocol import Engine
from atlas.training.forward import completion_logprobs, group_batch
from atlas.types import TrainSample

Group = list[TrainSample]


def update(
    engine: Engine,
    reference: PreTrainedModel | None,
    samples: Sequence[TrainSample],
    settings: LossSettings,
    *,
    temperature: float,
    max_tokens: int,
) -> Mapping[str, float]:
    """Take one optimiser step.

    Args:
        engine: Holds the policy.
        reference: The policy that the KL is measured to; None with beta 0.
        samples: All samples of the step; those without an advantage are left out.
        settings: Of the loss.
        temperature: That the teachings were sampled at.
        max_tokens: Completion tokens (padding counted) of one micro-batch, a group at least.

    Returns:
        ``train/loss``, ``train/grad_norm``, ``train/kl`` and the other metrics of the loss; empty
        when every group is dead: then no step is taken, so that momentum alone moves nothing.
    """
    groups = live_groups(samples)
    if not groups:
        return {}
    used = [sample for group in groups for sample in group if sample.advantage is not None]
    counts = StepCounts(
        num_tokens=sum(len(sample.completion_ids) for sample in used), num_sequences=len(used)
    )
    sums: dict[str, float] = defaultdict(float)
    maxima: dict[str, float] = defaultdict(float)
    for batch in micro_batches(groups, max_tokens):
        outputs_of = _backward(engine, reference, batch, counts, settings, temperature)
        for name, value in outputs_of[0].items():
            sums[name] += value
        for name, value in outputs_of[1].items():
            maxima[name] = max(maxima[name], value)
    info = engine.step()
    return {
        **{f"train/{name}": value for name, value in {**sums, **maxima}.items()},
        "train/grad_norm": info.grad_norm,
        "train/learning_rate": info.learning_rate,
    }


def live_groups(samples: Sequence[TrainSample]) -> list[Group]:
    """Return the groups with a member that is in the loss."""
    grouped = [list(members) for _, members in groupby(samples, key=lambda sample: sample.group)]
    return [group for group in grouped if any(s.advantage is not None for s in group)]


def micro_batches(groups: Sequence[Group], max_tokens: int) -> list[list[Group]]:
    """Cut groups into micro-batches; neighbours in length share one, so that little is padding."""
    batches: list[list[Group]] = []
    rows = longest = 0
    for group in sorted(groups, key=_longest):
        rows, longest = rows + len(group), max(longest, _longest(group))
        if not batches or rows * longest > max_tokens:
            batches.append([])
            rows, longest = len(group), _longest(group)
        batches[-1].append(group)
    return batches


def _backward(
    engine: Engine,
    reference: PreTrainedModel | None,
    groups: Sequence[Group],
    counts: StepCounts,
    settings: LossSettings,
    temperature: float,
) -> tuple[dict[str, float], dict[str, float]]:
    """Add one micro-batch's gradients; returns its shares of the metrics, and its maxima."""
    rows = [sample for group in groups for sample in group]
    batch = group_batch(
        [group[0].prompt_ids for group in groups],
        [sample.completion_ids for sample in rows],
        int(engine.model.config.pad_token_id or 0),
    )
    used_B = torch.tensor([sample.advantage is not None for sample in rows])
    mask_BT = batch.mask_BT & used_B.unsqueeze(1)
    policy = completion_logprobs(engine.model, batch, temperature=temperature, with_entropy=True)
    ref_BT = None
    if reference is not None:
        with torch.no_grad():
            ref_BT = completion_logprobs(reference, batch, temperature=temperature).logprobs_BT
    rollout_BT = torch.zeros(batch.mask_BT.shape)
    for row, sample in enumerate(rows):
        rollout_BT[row, : len(sample.rollout_logprobs)] = torch.tensor(sample.rollout_logprobs)
    outputs = grpo_loss(
        LossInputs(
            policy_logprobs_BT=policy.logprobs_BT,
            advantages_B=torch.tensor([sample.advantage or 0.0 for sample in rows]),
            mask_BT=mask_BT,
            step_counts=counts,
            rollout_logprobs_BT=rollout_BT,
            ref_logprobs_BT=ref_BT,
        ),
        settings,
    )
    engine.backward(outputs.loss)
    shares = {name: float(value) for name, value in outputs.metrics.items()}
    shares["loss"] = float(outputs.loss.detach())
    if policy.entropy_BT is not None:
        shares["entropy"] = float(policy.entropy_BT[mask_BT].sum()) / max(counts.num_tokens, 1)
    return shares, {name: float(value) for name, value in outputs.maxima.items()}


def _longest(group: Group) -> int:
    return max(len(sample.completion_ids) for sample in group)
