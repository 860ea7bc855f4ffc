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

from torch import Tensor
from transformers import PreTrainedModel

from atlas.from_scratch.training.batches import by_prompt, num_trained
from atlas.machine.precision import computing
from atlas.models.passes.forward import TokenLogprobs, logprobs
from atlas.models.passes.shared_prefix import shares_prefixes
from atlas.objectives.cross_entropy import cross_entropy
from atlas.objectives.ranked import LogprobReduction, ranked_loss, response_logprobs
from atlas.parallel.engine.protocol import Engine
from atlas.run.metrics import MetricSink
from atlas.run.progress import Progress
from atlas.run.stopping import StopRequest
from atlas.training.log_window import LogWindow
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
        window.add(shares, info, num_tokens=num_tokens(examples, shared=True))
        progress.advance(note=f"loss {shares['train/loss']:.3f}")
        if number % logging_steps == 0:
            window.log(number)
        after_step(number)
    window.log(number)  # what the last whole window left over
    return window.loss


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
