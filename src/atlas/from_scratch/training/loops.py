"""The two training stages of a model from random weights.

    pretrain   random weights, responses or text   ->  pretrained/, a model that speaks
    ranked     pretrained/, ranked responses       ->  final/, one that answers well

Both go on from their newest whole checkpoint, and end with weights that are equal bit by bit
whether they were stopped or not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from atlas.config.ranked import RankedConfig
from atlas.config.resolve import shown_values
from atlas.from_scratch.data.text import text_steps
from atlas.from_scratch.model.sizes import llama_config, size_named
from atlas.from_scratch.training.batches import (
    ranked_steps,
    repeated_steps,
    token_steps,
)
from atlas.from_scratch.training.group_steps import (
    Objective,
    Precision,
    likelihood_objective,
    ranked_objective,
    run_group_steps,
)
from atlas.machine.precision import computes_bf16, training_device
from atlas.models.checkpoints import load_model, save_model
from atlas.models.passes.upcasting import compute_in_float32
from atlas.parallel.engine.plain import PlainEngine
from atlas.prompts.chat import token_id
from atlas.run.goals import bounds_in
from atlas.run.health import Health
from atlas.run.metrics import MetricSink
from atlas.run.progress import Progress
from atlas.run.run_dir import RunDir
from atlas.run.seeding import derive_seed
from atlas.run.stopping import StopRequest
from atlas.training.loop import Loop
from atlas.training.micro_batches import Group, num_tokens
from atlas.training.resuming import Resumable
from atlas.training.supervised import run_steps
from atlas.types import Tokens

MakeModel = Callable[[], PreTrainedModel]
Figures = Mapping[str, float]
Stage = Callable[[PlainEngine, Loop], float]
"""Takes the steps that are left; returns the mean loss at the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What both stages are given."""

    run: RunDir
    config: RankedConfig
    tokenizer: PreTrainedTokenizerBase
    precision: Precision
    bf16_weights: bool
    gradient_checkpointing: bool
    progress: Progress
    stop: StopRequest


def random_model(
    config: RankedConfig, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """Return a model of the configured size with random weights, equal for equal seeds."""
    size = size_named(config.model_size)
    # As many rows as the size says, so that its number of parameters is known before the tokenizer.
    rows = max(size.vocab + size.reserved, len(tokenizer))
    shape = llama_config(
        config.model_size,
        vocab_size=rows,
        eos_token_id=token_id(tokenizer, "eos"),
        pad_token_id=token_id(tokenizer, "pad"),
    )
    torch.manual_seed(derive_seed(config.seed, "random weights"))
    return AutoModelForCausalLM.from_config(shape, dtype=dtype)


def pretrain(job: Training, model: MakeModel, examples: Sequence[Group]) -> Figures:
    """Teach language on the ranked data: every response is as good as another.

    Args:
        job: Run, configuration, tokenizer.
        model: Makes the model that the stage starts from.
        examples: Of the ranked data.

    Returns:
        ``loss`` (nats a token), ``steps``.
    """
    config = job.config
    cut = token_steps(examples, tokens=config.pretrain_tokens_per_step, seed=config.seed)
    total = max(1, math.ceil(len(cut) * config.pretrain_epochs))

    def learn(engine: PlainEngine, loop: Loop) -> float:
        steps = repeated_steps(cut, num_steps=total, first=loop.first_step, seed=config.seed)
        return run_group_steps(engine, steps, likelihood_objective, job.precision, loop)

    later = later_steps(config, examples) if "ranked" in config.stages else 0.0
    return _stage(job, "pretrain", model, learn, total=total, later_steps=later)


def later_steps(config: RankedConfig, examples: Sequence[Group]) -> float:
    """Return how many steps of the pre-training the ranked stage is worth, by tokens."""
    tokens = num_tokens(examples, shared=True)
    passes = num_ranked_steps(config, len(examples)) * config.batch_size / len(examples)
    return tokens * passes / config.pretrain_tokens_per_step


def pretrain_on_text(job: Training, model: MakeModel, rows: Sequence[Tokens]) -> Figures:
    """Teach language on any text, packed into rows; otherwise as `pretrain`."""
    config = job.config
    cut = text_steps(
        rows,
        tokens=config.pretrain_tokens_per_step,
        pass_tokens=job.precision.max_tokens,
        seed=config.seed,
    )
    total = max(1, math.ceil(len(cut) * config.pretrain_epochs))

    def learn(engine: PlainEngine, loop: Loop) -> float:
        steps = repeated_steps(cut, num_steps=total, first=loop.first_step, seed=config.seed)
        return run_steps(engine, steps, loop, autocast=job.precision.autocast)

    return _stage(job, "pretrain", model, learn, total=total)


def rank(job: Training, model: MakeModel, examples: Sequence[Group]) -> Figures:
    """Teach what is better: the guide's loss over the ranked responses.

    Returns:
        ``loss`` of the last logged steps, ``steps``.
    """
    config = job.config
    total = num_ranked_steps(config, len(examples))

    def learn(engine: PlainEngine, loop: Loop) -> float:
        steps = ranked_steps(
            examples,
            batch_size=config.batch_size,
            num_steps=total,
            first=loop.first_step,
            seed=config.seed,
        )
        return run_group_steps(engine, steps, objective_of(config), job.precision, loop)

    return _stage(job, "ranked", model, learn, total=total)


def num_ranked_steps(config: RankedConfig, num_prompts: int) -> int:
    """Return how many optimiser steps the ranked stage has."""
    steps = max(1, math.ceil(num_prompts * config.epochs / config.batch_size))
    return min(steps, config.max_steps) if config.max_steps else steps


def _stage(
    job: Training,
    name: Literal["pretrain", "ranked"],
    model: MakeModel,
    learn: Stage,
    *,
    total: int,
    later_steps: float = 0.0,
) -> Figures:
    """Run a stage from its newest checkpoint to its end, and save the model that comes of it."""
    config = job.config
    saved = Resumable(
        job.run.checkpoints / name,
        total_steps=total,
        save_steps=config.save_every,
        keep=config.save_total_limit,
        stop=job.stop,
        note=partial(job.run.note, name),
    )
    dtype = weights_dtype(job.bf16_weights)
    start = load_model(saved.folder, dtype=dtype) if saved.folder else model()
    engine = _engine(job, start, name, total)
    chain = saved.restore(engine, config)
    first = saved.first
    job.progress.begin(total, first)
    with MetricSink(
        job.run,
        stage=name,
        total_steps=total,
        resume_step=first or None,
        later_steps=later_steps,
        health=Health(name, bounds_in(name, shown_values(config))),
    ) as sink:
        loop = Loop(
            sink=sink,
            progress=job.progress,
            stop=job.stop,
            chain=chain,
            logging_steps=config.logging_steps,
            window=saved.window,
            first_step=first,
            after_step=lambda step: saved.save_if_due(step, engine, job.tokenizer),
        )
        loss = learn(engine, loop)
    folder = pretrained_folder(job.run) if name == "pretrain" else job.run.final
    save_model(folder, engine.model, job.tokenizer)
    return {"loss": loss, "steps": total}


def objective_of(config: RankedConfig) -> Objective:
    """Return the ranked objective with the configured weights."""
    return ranked_objective(
        sharpness=config.sharpness,
        preference_weight=config.likelihood_weight,
        pairwise_weight=config.grpo_preference_weight,
        reduction=config.logp_reduction,
    )


def weights_dtype(bf16_weights: bool) -> torch.dtype:
    """Return what the weights are kept in."""
    return torch.bfloat16 if bf16_weights else torch.float32


def pretrained_folder(run: RunDir) -> Path:
    """Return where the pre-trained model lies."""
    return run.path / "pretrained"


def _engine(job: Training, model: PreTrainedModel, name: str, total: int) -> PlainEngine:
    config = job.config
    first = name == "pretrain"
    # Not to another precision, which would round the rotations' frequencies too.
    placed: Any = model.to
    model = placed(training_device())
    if job.bf16_weights and not computes_bf16():
        compute_in_float32(model)
    if job.gradient_checkpointing:
        model.activation_checkpointing_enable()  # models/passes/recomputing.py then does it
    return PlainEngine(
        model,
        learning_rate=config.pretrain_learning_rate if first else config.learning_rate,
        total_steps=total,
        scheduler=config.lr_scheduler_type,
        warmup_ratio=config.warmup_ratio,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        betas=(0.9, 0.95 if first else 0.999),
        rounding_seed=config.seed if job.bf16_weights else None,
    )
