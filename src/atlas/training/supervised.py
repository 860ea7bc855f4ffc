"""Learning from examples, for the SFT warm-up and for the base model: one loop, two callers.

Input: an engine and its optimiser steps as lists of micro-batches of `Example`s. Output: a trained
model and its metrics. The loss of a step is the mean over its trained tokens, however the step is
cut into micro-batches (objectives/cross_entropy.py).

Shapes: B rows, T tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atlas.datasets.chat import Example, collate
from atlas.datasets.packing import positions
from atlas.models.lora import adapter_dropout
from atlas.objectives.cross_entropy import cross_entropy
from atlas.runtime.engine.protocol import Engine
from atlas.runtime.metrics import MetricSink
from atlas.runtime.precision import computing
from atlas.runtime.progress import Progress
from atlas.runtime.seeding import derive_seed
from atlas.runtime.stopping import StopRequest
from atlas.training.documents import hidden_states
from atlas.training.forward import project
from atlas.training.recomputing import recomputing

Step = Sequence[Sequence[Example]]
"""The micro-batches of one optimiser step; an `Example` may be a row of several (packing.py)."""


def example_logprobs(model: PreTrainedModel, examples: Sequence[Example], pad_id: int) -> Tensor:
    """Return the log-probabilities of all trained tokens of the examples, in one axis [N]."""
    ids_BT, trained_BT = collate(list(examples), pad_id, model.device)
    with recomputing(model.get_decoder()):
        hidden_BTD = hidden_states(model, ids_BT, positions(examples, model.device))
    # The hidden state before a token predicts it; the first token is predicted by nothing.
    before_BT = trained_BT[:, 1:]
    return project(model, hidden_BTD[:, :-1][before_BT], ids_BT[:, 1:][before_BT]).logprobs_N


def run_steps(
    engine: Engine,
    steps: Iterable[Step],
    *,
    first_step: int,
    sink: MetricSink,
    progress: Progress,
    stop: StopRequest,
    logging_steps: int,
    autocast: bool = False,
    dropout_seed: int = 0,
    after_step: Callable[[int], None] = lambda step: None,
) -> float:
    """Train through the steps.

    Args:
        engine: Holds model and optimiser.
        steps: What each optimiser step learns from.
        first_step: Steps that were done before, by a run that this one goes on from.
        sink: Takes the metrics every ``logging_steps`` steps.
        progress: Told of every step.
        stop: Asked before every step.
        logging_steps: Steps between two lines of metrics; they hold means over these steps.
        autocast: Compute in bfloat16 where that is safe; weights stay as they are.
        dropout_seed: Of the dropout of the model's adapter, if it has any.
        after_step: Called with the number of steps done, to save checkpoints.

    Returns:
        The mean loss of the last logged steps.
    """
    pad_id = engine.model.config.pad_token_id or 0
    window: list[float] = []
    num_tokens, started, last = 0, time.monotonic(), float("nan")
    for step, batches in enumerate(steps, start=first_step + 1):
        if stop.asked and step > first_step + 1:
            after_step(step - 1)  # asked while the data was made: save what is done
        stop.check()
        trained = sum(example.num_trained for batch in batches for example in batch)
        loss = 0.0
        for place, batch in enumerate(batches):
            with adapter_dropout(engine.model, derive_seed(dropout_seed, step, place)):
                with computing(engine.model, autocast):
                    logprobs_N = example_logprobs(engine.model, batch, pad_id)
                share = cross_entropy(logprobs_N, torch.ones_like(logprobs_N).bool(), trained)
                engine.backward(share)
            loss += share.item()
        info = engine.step()
        window.append(loss)
        num_tokens += sum(len(example.ids) for batch in batches for example in batch)
        progress.advance(note=f"loss {loss:.3f}")
        if step % logging_steps == 0:
            last = sum(window) / len(window)
            seconds = time.monotonic() - started
            sink.log(
                step,
                {
                    "train/loss": last,
                    "train/grad_norm": info.grad_norm,
                    "train/learning_rate": info.learning_rate,
                    "train/tokens_per_second": num_tokens / seconds,
                },
            )
            window, num_tokens, started = [], 0, time.monotonic()
        after_step(step)
    return sum(window) / len(window) if window else last


@torch.inference_mode()
def evaluation_loss(
    model: PreTrainedModel, examples: Sequence[Example], *, batch_size: int
) -> float:
    """Return the mean loss (nats a token) over examples; NaN where there are none."""
    pad_id = model.config.pad_token_id or 0
    total, count = 0.0, 0
    for start in range(0, len(examples), batch_size):
        logprobs_N = example_logprobs(model, examples[start : start + batch_size], pad_id)
        total, count = total - float(logprobs_N.sum()), count + len(logprobs_N)
    return total / count if count else float("nan")
