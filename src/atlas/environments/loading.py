"""Policies and students, loaded from folders onto the device that this process computes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from atlas.config.collect import CollectConfig
from atlas.config.evaluate import EvaluateConfig
from atlas.config.grpo import GRPOConfig
from atlas.config.parts.answers import AUTO
from atlas.config.parts.student import ToolFormat
from atlas.endpoint.budget import Usage
from atlas.environments.actor import Actor
from atlas.environments.students.agent import AgentStudent
from atlas.environments.students.endpoint import EndpointStudent
from atlas.environments.students.likelihood import AnswerLikelihood
from atlas.environments.students.model import ModelStudent
from atlas.environments.students.student import Student
from atlas.environments.tools.acting import Acting
from atlas.environments.tools.loading import configured_acting
from atlas.machine.precision import sampling_dtype, training_device
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
    dtype: torch.dtype | None = None,
    likelihood: bool = False,
    servers: GRPOConfig | None = None,
    acting: Acting | None = None,
    tool_format: ToolFormat = "auto",
    say: Callable[[str], None] = warn,
) -> ModelStudent:
    """Load a student, which answers greedily.

    Args:
        folder: Model folder, hub id or name of a shipped model.
        max_new_tokens: Longest answer, in tokens.
        approach_tokens: Longest statement of its approach, in tokens.
        prompts: That it reads.
        answer_format: How it marks its final answer.
        dtype: Of its weights; None: what a training computes in on this machine.
        likelihood: It says how likely it finds reference answers, too.
        servers: Names the servers that it runs on, if any.
        acting: Its way with tools, where it has some.
        tool_format: How it is told of them.
        say: Told where prompts don't reach it as they are written.

    Raises:
        AtlasError: It can't be loaded, or its servers can't be reached.
    """
    renderer = load_renderer(folder, prompts, "student", say=say)
    model = load_model(folder, dtype=dtype or sampling_dtype(), device=training_device())
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
        # How likely an answer is before anything was looked up says nothing.
        likelihood=AnswerLikelihood(model, renderer) if likelihood and acting is None else None,
        acting=acting,
        roles=acting is not None and tool_format == "auto" and renderer.knows_tools,
    )


def configured_student(
    config: GRPOConfig | CollectConfig | EvaluateConfig,
    prompts: Prompts,
    *,
    dtype: torch.dtype | None = None,
    likelihood: bool = False,
    errors: Path | None = None,
    spent: Usage | None = None,
    parts: int = 1,
    say: Callable[[str], None] = warn,
) -> Student:
    """Return the student that a configuration names, of whatever kind.

    Args:
        config: The keys that begin with ``student``, and how long it may speak.
        prompts: That it reads.
        dtype: Of its weights, where it is loaded here; None: as for `load_student`.
        likelihood: It says how likely it finds reference answers, where it can.
        errors: The file for what an agent raises.
        spent: What it has cost in an earlier part of the run, of this process's part.
        parts: Processes that share what it may cost.
        say: Told what a person should know.

    Raises:
        AtlasError: It can't be loaded or reached, isn't allowed, or its key isn't there.
    """
    if config.student == "agent":
        return AgentStudent(config, answer_format=config.answer_format, errors=errors, say=say)
    acting = configured_acting(config, prompts)
    if config.student == "endpoint":
        return EndpointStudent(
            config,
            prompts,
            max_new_tokens=config.student_max_new_tokens,
            approach_tokens=config.approach_max_new_tokens,
            answer_format=config.answer_format,
            spent=spent,
            parts=parts,
            acting=acting,
            say=say,
        )
    assert config.student_model is not None  # resolved
    return load_student(
        config.student_model,
        max_new_tokens=config.student_max_new_tokens,
        approach_tokens=config.approach_max_new_tokens,
        prompts=prompts,
        answer_format=config.answer_format,
        dtype=dtype,
        likelihood=likelihood,
        servers=config if isinstance(config, GRPOConfig) else None,
        acting=acting,
        tool_format=config.tool_format,
        say=say,
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
    model = load_model(folder, dtype=sampling_dtype(), device=training_device())
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
