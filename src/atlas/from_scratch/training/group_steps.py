"""Learning from prompts with ranked responses: what a step does, with two objectives.

Input: an engine, the examples of each optimiser step. Output: a trained model and its metrics.

    pretrain    likelihood of every response alike: language (objectives/cross_entropy.py)
    ranked      good responses likelier than bad ones (objectives/ranked.py)

The K responses of a prompt share one forward pass of it (models/passes/forward.py).

Shapes: P prompts, K responses, B = P * K rows, T tokens.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from atlas.from_scratch.training.batches import by_prompt, num_trained
from atlas.machine.precision import computing
from atlas.models.passes.forward import TokenLogprobs, logprobs
from atlas.models.passes.shared_prefix import shares_prefixes
from atlas.objectives.cross_entropy import cross_entropy
from atlas.objectives.ranked import LogprobReduction, ranked_loss, response_logprobs
from atlas.parallel.engine.protocol import Engine
from atlas.training.loop import Learned, Loop, learned
from atlas.training.micro_batches import Group, micro_batches, num_tokens

Share = tuple[Tensor, Mapping[str, Tensor]]
"""A micro-batch's share of the loss, and of the other metrics."""
Objective = Callable[[TokenLogprobs, Sequence[Group], Sequence[Group]], Share]
"""(of the policy, micro-batch, examples of the whole step) -> share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Precision:
    """How a pass is computed, and how much of a step at a time."""

    autocast: bool
    """Compute in bfloat16 where that is safe."""
    max_tokens: int
    """Of one forward pass; padding counted where a model can't do without."""


def likelihood_objective(
    policy: TokenLogprobs, batch: Sequence[Group], step: Sequence[Group]
) -> Share:
    """Mean negative log-likelihood a token, over the tokens of all responses of the step."""
    return cross_entropy(policy.logprobs_BT, policy.mask_BT, num_trained(step)), {}


def ranked_objective(
    *,
    sharpness: float,
    preference_weight: float,
    pairwise_weight: float,
    reduction: LogprobReduction,
) -> Objective:
    """Return the guide's loss with its weights; mean over the prompts of the step."""

    def objective(policy: TokenLogprobs, batch: Sequence[Group], step: Sequence[Group]) -> Share:
        likely_B = response_logprobs(policy.logprobs_BT, policy.mask_BT, reduction)
        result = ranked_loss(
            *by_prompt(likely_B, batch),
            len(step),
            sharpness=sharpness,
            preference_weight=preference_weight,
            pairwise_weight=pairwise_weight,
        )
        parts = {
            "train/preference_loss": result.preference,
            "train/pairwise_loss": result.pairwise,
        }
        return result.loss, parts

    return objective


def run_group_steps(
    engine: Engine,
    steps: Iterable[Sequence[Group]],
    objective: Objective,
    precision: Precision,
    loop: Loop,
) -> float:
    """Train through the steps.

    Args:
        engine: Holds model and optimiser.
        steps: The examples of each optimiser step.
        objective: What is minimised.
        precision: Of the passes.
        loop: Logs, saves and stops.

    Returns:
        The mean loss of the last logged steps; NaN where no step was left.
    """

    def learn(step: int, examples: Sequence[Group]) -> Learned:
        metrics = backward(engine, examples, objective, precision)
        rows = [row for group in examples for row in group]
        return learned(metrics, engine.step(), rows, num_tokens=num_tokens(examples, shared=True))

    return loop.run(steps, learn).get("train/loss", math.nan)


def backward(
    engine: Engine,
    examples: Sequence[Group],
    objective: Objective,
    precision: Precision,
) -> dict[str, float]:
    """Add the gradients of one step; returns its loss and the other metrics."""
    model = engine.model
    sums: dict[str, float] = defaultdict(float)
    for batch in batches_of(model, examples, precision):
        with computing(model.device, precision.autocast):
            policy = logprobs(model, [row for group in batch for row in group])
        loss, parts = objective(policy, batch, examples)
        engine.backward(loss)
        sums["train/loss"] += loss.item()
        for name, value in parts.items():
            sums[name] += value.item()
    return sums


def batches_of(
    model: PreTrainedModel, examples: Sequence[Group], precision: Precision
) -> list[list[Group]]:
    """Return the examples as micro-batches, each of them whole."""
    shared = shares_prefixes(model)
    return micro_batches(examples, precision.max_tokens, shared=shared, whole=True)
