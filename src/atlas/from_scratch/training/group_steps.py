"""Learning from prompts with ranked responses: one loop, two objectives.

Input: an engine, the examples of each optimiser step. Output: a trained model and its metrics.

    pretrain    likelihood of every response alike: language (objectives/cross_entropy.py)
    ranked      good responses likelier than bad ones (objectives/ranked.py)

The K responses of a prompt share one forward pass of it (models/passes/forward.py).

Shapes: P prompts, K responses, B = P * K rows, T tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atlas.from_scratch.training.batches import RankedBatch, RankedExample, micro_batches
from atlas.machine.precision import computing
from atlas.models.passes.forward import completion_logprobs, shares_prompts
from atlas.objectives.cross_entropy import cross_entropy
from atlas.objectives.ranked import LogprobReduction, ranked_loss, response_logprobs
from atlas.parallel.engine.protocol import Engine
from atlas.run.metrics import MetricSink
from atlas.run.progress import Progress
from atlas.run.stopping import StopRequest
from atlas.training.log_window import LogWindow

Share = tuple[Tensor, Mapping[str, Tensor]]
"""A micro-batch's share of the loss, and of the other metrics."""
Objective = Callable[[Tensor, RankedBatch, Sequence[RankedExample]], Share]
"""(policy_logprobs_BT, batch, examples of the whole step) -> share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Precision:
    """How a pass is computed, and how much of a step at a time."""

    autocast: bool
    """Compute in bfloat16 where that is safe."""
    max_tokens: int
    """Of one forward pass; padding counted where a model can't do without."""


def likelihood_objective(
    policy_logprobs_BT: Tensor, batch: RankedBatch, step: Sequence[RankedExample]
) -> Share:
    """Mean negative log-likelihood a token, over the tokens of all responses of the step."""
    num_tokens = sum(example.num_trained for example in step)
    return cross_entropy(policy_logprobs_BT, batch.groups.mask_BT, num_tokens), {}


def ranked_objective(
    *,
    sharpness: float,
    preference_weight: float,
    pairwise_weight: float,
    reduction: LogprobReduction,
) -> Objective:
    """Return the guide's loss with its weights; mean over the prompts of the step."""

    def objective(
        policy_logprobs_BT: Tensor, batch: RankedBatch, step: Sequence[RankedExample]
    ) -> Share:
        likely_B = response_logprobs(policy_logprobs_BT, batch.groups.mask_BT, reduction)
        result = ranked_loss(
            likely_B.view(batch.scores_PK.shape),
            batch.scores_PK,
            torch.ones_like(batch.scores_PK, dtype=torch.bool),
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
    steps: Iterable[Sequence[RankedExample]],
    objective: Objective,
    precision: Precision,
    *,
    first_step: int,
    sink: MetricSink,
    progress: Progress,
    stop: StopRequest,
    logging_steps: int,
    after_step: Callable[[int], None] = lambda step: None,
) -> float:
    """Train through the steps.

    Args:
        engine: Holds model and optimiser.
        steps: The examples of each optimiser step.
        objective: What is minimised.
        precision: Of the passes.
        first_step: Steps that were done before, by a run that this one goes on from.
        sink: Takes the metrics every ``logging_steps`` steps, as means over them.
        progress: Told of every step.
        stop: Asked before every step.
        logging_steps: Steps between two lines of metrics.
        after_step: Called with the number of steps done, to save checkpoints.

    Returns:
        The mean loss of the last logged steps.
    """
    window = LogWindow(sink)
    number = first_step
    for number, examples in enumerate(steps, start=first_step + 1):
        if stop.asked and number > first_step + 1:
            after_step(number - 1)  # asked while the data was made: save what is done
        stop.check()
        shares = backward(engine, examples, objective, precision)
        info = engine.step()
        window.add(shares, info, num_tokens=sum(example.num_tokens for example in examples))
        progress.advance(note=f"loss {shares['train/loss']:.3f}")
        if number % logging_steps == 0:
            window.log(number)
        after_step(number)
    window.log(number)  # what the last whole window left over
    return window.loss


def backward(
    engine: Engine,
    examples: Sequence[RankedExample],
    objective: Objective,
    precision: Precision,
) -> dict[str, float]:
    """Add the gradients of one step; returns its loss and the other metrics."""
    model = engine.model
    sums: dict[str, float] = defaultdict(float)
    for batch in batches_of(model, examples, precision):
        with computing(model.device, precision.autocast):
            logprobs_BT = completion_logprobs(model, batch.groups).logprobs_BT
        loss, parts = objective(logprobs_BT, batch, examples)
        engine.backward(loss)
        sums["train/loss"] += loss.item()
        for name, value in parts.items():
            sums[name] += value.item()
    return sums


def batches_of(
    model: PreTrainedModel, examples: Sequence[RankedExample], precision: Precision
) -> Iterable[RankedBatch]:
    """Return the examples as micro-batches on the model's device."""
    pad_id = int(model.config.pad_token_id or 0)
    shared = shares_prompts(model)
    return micro_batches(examples, precision.max_tokens, pad_id, model.device, shared=shared)
