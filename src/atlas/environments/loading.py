"""Policies and students, loaded from folders onto the device that this process computes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

from atlas.config.grpo import GRPOConfig
from atlas.config.parts.answers import AUTO
from atlas.environments.actor import Actor
from atlas.environments.students.likelihood import AnswerLikelihood
from atlas.environments.students.model import ModelStudent
from atlas.machine.precision import training_device
from atlas.models.checkpoints import load_model
from atlas.models.prompts import load_renderer, warn
from atlas.policy.engine import student_generator
from atlas.prompts import Prompts
from atlas.rollouts.generator import Sampling
from atlas.rollouts.local.engine import LocalGenerator


def load_student(
    folder: str,
    *,
    max_new_tokens: int,
    approach_tokens: int,
    prompts: Prompts,
    answer_format: str = AUTO,
    dtype: torch.dtype = torch.float32,
    likelihood: bool = False,
    servers: GRPOConfig | None = None,
    say: Callable[[str], None] = warn,
) -> ModelStudent:
    """Load a student, which answers greedily.

    Args:
        folder: Model folder, hub id or name of a shipped model.
        max_new_tokens: Longest answer, in tokens.
        approach_tokens: Longest statement of its approach, in tokens.
        prompts: That it reads.
        answer_format: How it marks its final answer.
        dtype: Of its weights.
        likelihood: It says how likely it finds reference answers, too.
        servers: Names the servers that it runs on, if any.
        say: Told where prompts don't reach it as they are written.

    Raises:
        AtlasError: It can't be loaded, or its servers can't be reached.
    """
    renderer = load_renderer(folder, prompts, "student", say=say)
    model = load_model(folder, dtype=dtype, device=training_device())
    if servers is None:
        generator = LocalGenerator(model, renderer.tokenizer)
    else:
        generator = student_generator(servers, model, renderer.tokenizer)
    return ModelStudent(
        Actor(
            generator=generator,
            renderer=renderer,
            sampling=Sampling(max_new_tokens=max_new_tokens),
            window=window_of(model),
        ),
        approach_tokens=approach_tokens,
        answer_format=answer_format,
        likelihood=AnswerLikelihood(model, renderer) if likelihood else None,
    )


def load_actor(
    folder: str, sampling: Sampling, *, prompts: Prompts, say: Callable[[str], None] = warn
) -> Actor:
    """Load a policy that is only sampled from.

    Args:
        folder: Model folder, hub id or name of a shipped model.
        sampling: How completions are drawn.
        prompts: That it reads.
        say: Told where prompts don't reach it as they are written.

    Raises:
        AtlasError: It can't be loaded.
    """
    renderer = load_renderer(folder, prompts, say=say)
    model = load_model(folder, device=training_device())
    return Actor(
        generator=LocalGenerator(model, renderer.tokenizer),
        renderer=renderer,
        sampling=sampling,
        window=window_of(model),
    )


def window_of(model: PreTrainedModel) -> int | None:
    """Return the tokens that a model has room for; None where it doesn't say."""
    config: Any = model.config.get_text_config()
    return getattr(config, "max_position_embeddings", None)
