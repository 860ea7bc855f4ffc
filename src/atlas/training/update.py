"""Samples to one optimiser step of GRPO (or several), in micro-batches within a budget of tokens.

Input: the step's samples, as `Tokens`. Output: an updated policy and the step's metrics. Every
share of the loss has the step's own denominator, so that the cut into micro-batches changes
nothing. With ``num_iterations`` above 1 the same samples are learned from again: the
log-probabilities before the first of these steps, which it computes anyway, are then the ``old``
ones of the ratio.

What is sampled counts and nothing else: of a sample of several turns, what the environment replied
in between is read, and is in no loss, no KL, no weight and no count.

Shapes: B rows, T tokens after the prompt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atlas.config.grpo import GRPOConfig
from atlas.machine.precision import computing
from atlas.models.lora import adapter_dropout
from atlas.models.passes.forward import logprobs
from atlas.models.passes.padded import advantages, right_padded, trained_mask
from atlas.models.passes.reference import reference_logprobs
from atlas.models.passes.shared_prefix import shares_prefixes, siblings
from atlas.objectives.loss import LossInputs, LossOutputs, grpo_loss
from atlas.objectives.loss_types import LossSettings
from atlas.objectives.reduction import StepCounts
from atlas.parallel.distributed import ALONE, Ranks
from atlas.parallel.engine.protocol import Engine
from atlas.parallel.engine.runner import Runner
from atlas.run.seeding import derive_seed
from atlas.training.memory import halved, within_memory
from atlas.training.micro_batches import Group, dealt
from atlas.types import Tokens

_Passed = tuple[Mapping[str, Tensor], Mapping[str, Tensor], Tensor]
"""Of a pass: metrics that add up, those of which the largest counts, and log-probabilities."""
_NOTHING = Tokens.of((0,), (0, 0))
"""What a rank computes with to keep others company."""


@dataclass(kw_only=True, slots=True)
class _Part:
    """One micro-batch, and what is computed for it only once."""

    rows: Sequence[Tokens]
    mask_BT: Tensor
    """Which tokens are learned."""
    advantages_BT: Tensor
    """[B, 1] where each row has one for all its tokens."""
    rollout_BT: Tensor
    ref_BT: Tensor | None
    old_BT: Tensor | None = None
    """None until a first step has been taken: the policy is then the old policy."""
    weight: float = 1.0
    """0 where it only keeps other ranks company."""

    def halves(self) -> list[_Part]:
        """Return it in two; a row alone stays."""
        cuts = halved(range(len(self.rows)))
        return [self._cut(slice(cut[0], cut[-1] + 1)) for cut in cuts] if len(cuts) > 1 else [self]

    def _cut(self, some: slice) -> _Part:
        rows = self.rows[some]
        width = max(len(row.ids) - row.prefix for row in rows)
        return _Part(
            rows=rows,
            mask_BT=self.mask_BT[some, :width],
            advantages_BT=self.advantages_BT[some, :width],
            rollout_BT=self.rollout_BT[some, :width],
            ref_BT=None if self.ref_BT is None else self.ref_BT[some, :width],
            old_BT=None if self.old_BT is None else self.old_BT[some, :width],
            weight=self.weight,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateSettings:
    """What an update minimises, and how it computes it."""

    loss: LossSettings
    temperature: float
    """That the completions were sampled at."""
    max_tokens: int
    """Of one micro-batch: all that the forward pass computes."""
    num_iterations: int = 1
    """Optimiser steps on the same samples."""
    autocast: bool = False
    """Compute in bfloat16 where that is safe; weights stay as they are."""

    @classmethod
    def of(cls, config: GRPOConfig, *, autocast: bool) -> Self:
        """Return the settings of a configuration."""
        return cls(
            loss=LossSettings.of(config),
            temperature=config.temperature,
            max_tokens=config.tokens_of_a_pass,
            num_iterations=config.num_iterations,
            autocast=autocast,
        )


def update(
    engine: Engine,
    reference: PreTrainedModel | Runner | None,
    samples: Sequence[Tokens],
    settings: UpdateSettings,
    *,
    dropout_seed: int = 0,
    ranks: Ranks = ALONE,
) -> Mapping[str, float]:
    """Take the optimiser steps of one step of GRPO.

    Args:
        engine: Holds the policy.
        reference: The policy that the KL is measured to, perhaps shared out, or the policy itself
            where it has an adapter that can be switched off; None with beta 0.
        samples: All samples of the step, of all ranks; those without an advantage are left out.
        settings: Of the loss, and of what computes it.
        dropout_seed: Of the dropout of the policy's adapter, if it has any.
        ranks: Who trains together; each computes its share of the samples.

    Returns:
        ``train/loss``, ``train/grad_norm``, ``train/kl`` and the other metrics of the loss, means
        over the iterations; empty when every group is dead: then no step is taken, so that
        momentum alone moves nothing.
    """
    groups = live_groups(samples)
    if not groups:
        return {}
    counts = _counts(groups)
    shares = dealt(groups, settings.max_tokens, ranks.size, shared=shares_prefixes(engine.trained))
    # Ranks exchange weights and gradients in each pass, so that all take as many.
    num_passes = max(map(len, shares))
    with computing(engine.device, settings.autocast):
        parts = _parts(engine, reference, shares[ranks.rank], num_passes, settings.temperature)
    empty = [_empty_part(engine.device)] * (num_passes - len(parts))
    sums: dict[str, float] = defaultdict(float)
    maxima: dict[str, float] = defaultdict(float)
    norm = rate = 0.0
    outputs_of = partial(_outputs, counts=counts, settings=settings)

    def passes(parts: Sequence[_Part]) -> list[_Passed]:
        every = [*parts, *empty]
        taken: list[_Passed] = []
        for place, part in enumerate(every):
            # The same draws in every iteration: the ratio is to compare the same network.
            with adapter_dropout(engine.trained, derive_seed(dropout_seed, ranks.rank, place)):
                loss, outputs, entropy, policy_BT = engine.forward(
                    partial(outputs_of, part=part), last=place == len(every) - 1
                )
                engine.backward(loss)
            metrics = {**outputs.metrics, "loss": loss.detach(), "entropy": entropy}
            taken.append((metrics, outputs.maxima, policy_BT))
        return taken[: len(parts)]

    num_iterations = settings.num_iterations
    for iteration in range(num_iterations):
        taken, parts = within_memory(engine, parts, passes, _Part.halves)
        for part, (metrics, largest, policy_BT) in zip(parts, taken, strict=True):
            if iteration == 0 and num_iterations > 1:
                part.old_BT = policy_BT
            for name, value in metrics.items():
                sums[name] += float(value) / num_iterations
            for name, value in largest.items():
                maxima[name] = max(maxima[name], float(value))
        info = engine.step()
        norm += info.grad_norm / num_iterations
        rate = info.learning_rate
    found = {
        **ranks.sums(sums, "metrics of the update"),
        **ranks.maxima(maxima, "metrics of the update"),
        "grad_norm": norm,
        "learning_rate": rate,
    }
    return {f"train/{name}": value for name, value in found.items()}


def _counts(groups: Sequence[Group]) -> StepCounts:
    used = [sample for group in groups for sample in group]
    return StepCounts(
        num_tokens=sum(sample.num_trained for sample in used), num_sequences=len(used)
    )


def live_groups(samples: Sequence[Tokens]) -> list[Group]:
    """Return the members that are in the loss, by group; groups without any are left out."""
    return siblings(s for s in samples if s.advantage is not None and s.trained)


def _parts(
    engine: Engine,
    reference: PreTrainedModel | Runner | None,
    batches: Sequence[Sequence[Group]],
    num_passes: int,
    temperature: float,
) -> list[_Part]:
    """Return the micro-batches of this rank; a reference that is shared out runs once a pass."""
    if isinstance(reference, Runner):
        for _ in range(num_passes - len(batches)):
            _reference_logprobs(reference, [_NOTHING], temperature, engine.device)
    return [_part(engine, reference, batch, temperature) for batch in batches]


def _part(
    engine: Engine,
    reference: PreTrainedModel | Runner | None,
    groups: Sequence[Group],
    temperature: float,
) -> _Part:
    device = engine.device
    rows = [row for group in groups for row in group]
    return _Part(
        rows=rows,
        mask_BT=trained_mask(rows, device),
        advantages_BT=advantages(rows, device),
        rollout_BT=right_padded([row.logprobs[row.prefix :] for row in rows], device),
        ref_BT=_reference_logprobs(reference, rows, temperature, device),
    )


def _reference_logprobs(
    reference: PreTrainedModel | Runner | None,
    rows: Sequence[Tokens],
    temperature: float,
    device: torch.device,
) -> Tensor | None:
    if not isinstance(reference, Runner):
        return reference_logprobs(reference, rows, temperature, device)
    # What is shared out is whole only while its own forward runs.
    with torch.no_grad():
        return reference(
            partial(reference_logprobs, rows=rows, temperature=temperature, device=device)
        )


def _empty_part(device: torch.device) -> _Part:
    """Return a micro-batch that weighs nothing, for a rank that has no more to compute."""
    zeros_BT = torch.zeros(1, 2, device=device)
    return _Part(
        rows=[_NOTHING],
        mask_BT=zeros_BT.bool(),
        advantages_BT=zeros_BT,
        rollout_BT=zeros_BT,
        ref_BT=None,
        weight=0.0,
    )


def _outputs(
    model: PreTrainedModel,
    *,
    part: _Part,
    counts: StepCounts,
    settings: UpdateSettings,
) -> tuple[Tensor, LossOutputs, Tensor, Tensor]:
    """Return one micro-batch's share of the loss, all of it, entropy and log-probabilities."""
    device = part.mask_BT.device
    with computing(device, settings.autocast):
        policy = logprobs(
            model, part.rows, temperature=settings.temperature, with_entropy=True, device=device
        )
    if not part.weight:
        zero = policy.logprobs_BT.sum() * 0
        nothing = LossOutputs(loss=zero, metrics={}, maxima={})
        return zero, nothing, zero.detach(), policy.logprobs_BT.detach()
    outputs = grpo_loss(
        LossInputs(
            policy_logprobs_BT=policy.logprobs_BT,
            advantages_BT=part.advantages_BT,
            mask_BT=part.mask_BT,
            step_counts=counts,
            old_logprobs_BT=part.old_BT,
            rollout_logprobs_BT=part.rollout_BT,
            ref_logprobs_BT=part.ref_BT,
        ),
        settings.loss,
    )
    assert policy.entropy_BT is not None  # it was asked for
    entropy = policy.entropy_BT.sum() / max(counts.num_tokens, 1)
    return outputs.loss, outputs, entropy, policy.logprobs_BT.detach()
