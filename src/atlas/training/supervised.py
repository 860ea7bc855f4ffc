"""Learning from examples, for the SFT warm-up, the base model and text: what a step does.

Input: an engine and its optimiser steps as lists of micro-batches of `Tokens`. Output: a trained
model and its metrics. The loss of a step is the mean over its trained tokens, however the step is
cut into micro-batches (objectives/cross_entropy.py).

Shapes: B rows, T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atlas.machine.precision import computing
from atlas.models.lora import adapter_dropout
from atlas.models.passes.forward import logprobs
from atlas.models.passes.padded import advantages
from atlas.objectives.cross_entropy import cross_entropy
from atlas.parallel.distributed import ALONE, Ranks
from atlas.parallel.engine.protocol import Engine
from atlas.run.seeding import derive_seed
from atlas.training.loop import Learned, Loop, learned
from atlas.training.memory import halved, within_memory
from atlas.types import Tokens

Step = Sequence[Sequence[Tokens]]
"""The micro-batches of one optimiser step; a row may hold several sequences."""


def run_steps(
    engine: Engine,
    steps: Iterable[Step],
    loop: Loop,
    *,
    autocast: bool = False,
    dropout_seed: int = 0,
    ranks: Ranks = ALONE,
) -> float:
    """Train through the steps.

    Args:
        engine: Holds model and optimiser.
        steps: What each optimiser step learns from, over all ranks; a rank takes its share of the
            micro-batches, of which each has as many.
        loop: Logs, saves and stops.
        autocast: Compute in bfloat16 where that is safe; weights stay as they are.
        dropout_seed: Of the dropout of the model's adapter, if it has any.
        ranks: Who trains together.

    Returns:
        The mean loss of the last logged steps; NaN where no step was left.
    """
    share_of = partial(_share, autocast=autocast, device=engine.device)

    def learn(step: int, batches: Step) -> Learned:
        trained = sum(example.weight for batch in batches for example in batch)
        first, mine = ranks.share(batches)

        def passes(parts: Sequence[Sequence[Tokens]]) -> float:
            loss = 0.0
            for place, batch in enumerate(parts):
                compute = partial(share_of, examples=batch, num_trained=trained)
                with adapter_dropout(
                    engine.trained, derive_seed(dropout_seed, step, first + place)
                ):
                    share = engine.forward(compute, last=place == len(parts) - 1)
                    engine.backward(share)
                loss += share.item()
            return loss

        with ranks.phase(f"update of step {step}"):
            loss, _ = within_memory(engine, mine, passes, halved)
            info = engine.step()
        loss = ranks.sums({"loss": loss}, f"loss of step {step}")["loss"]
        num_tokens = sum(len(example.ids) for batch in batches for example in batch)
        rows = [row for batch in batches for row in batch]
        return learned({"train/loss": loss}, info, rows, num_tokens=num_tokens)

    return loop.run(steps, learn).get("train/loss", math.nan)


def _share(
    model: PreTrainedModel,
    *,
    examples: Sequence[Tokens],
    num_trained: float,
    autocast: bool,
    device: torch.device,
) -> Tensor:
    """Return a micro-batch's share of the loss of a step with ``num_trained`` tokens, weighed."""
    with computing(device, autocast):
        found = logprobs(model, examples, device=device)
    logprobs_BT = found.logprobs_BT
    if any(example.advantage is not None for example in examples):
        logprobs_BT = logprobs_BT * advantages(examples, device)
    return cross_entropy(logprobs_BT, found.mask_BT, num_trained)


@torch.no_grad()
def evaluation_loss(
    engine: Engine,
    examples: Sequence[Tokens],
    *,
    batch_size: int,
    autocast: bool = False,
    ranks: Ranks = ALONE,
) -> float:
    """Return the mean loss (nats a token) over examples; NaN where there are none.

    Args:
        engine: Holds the model, on all ranks.
        examples: All of them; a rank takes its share.
        batch_size: Of a forward pass.
        autocast: Compute in bfloat16 where that is safe.
        ranks: Who measures together.
    """

    def likelihood(model: PreTrainedModel, batch: Sequence[Tokens]) -> Tensor:
        with computing(engine.device, autocast):
            return logprobs(model, batch, device=engine.device).logprobs_BT.sum()

    _, mine = ranks.share(examples)
    total, count = 0.0, 0
    # A pass may exchange weights, so that all ranks take as many; the largest share is one larger.
    most = math.ceil(math.ceil(len(examples) / ranks.size) / batch_size)
    for place in range(most):
        batch = mine[place * batch_size : (place + 1) * batch_size]
        found = engine.forward(partial(likelihood, batch=batch or examples[:1]))
        if batch:
            total -= float(found)
            count += sum(example.num_trained for example in batch)
    sums = ranks.sums({"loss": total, "tokens": count}, "the evaluation loss")
    return sums["loss"] / sums["tokens"] if sums["tokens"] else float("nan")
