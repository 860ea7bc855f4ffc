"""Our step: generate, reward, advantages, reference and update, through the public pieces."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer

from atlas.models.passes.compiling import compile_training
from atlas.objectives.loss_types import LossSettings
from atlas.parallel.engine.plain import PlainEngine
from atlas.rollouts.generator import Sampling
from atlas.rollouts.local.engine import LocalGenerator
from atlas.training.samples import train_samples
from atlas.training.update import UpdateSettings, update
from atlas.types import Completion, Episode, Score, Task
from sides import machine
from sides.models import DTYPES, make_prompts
from sides.workloads import BETA, LEARNING_RATE, Workload, reward

MAX_TOKENS = 16384
"""Of a micro-batch: the default of the configuration."""


def run(
    folder: Path, workload: Workload, *, steps: int, warmup: int, compiled: bool = False
) -> dict[str, Any]:
    """Return seconds of every step and of its phases, and the mean length of completions."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[workload.dtype])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    reference = copy.deepcopy(model).requires_grad_(False)
    total = steps + warmup
    engine = PlainEngine(
        model,
        learning_rate=LEARNING_RATE,
        total_steps=total,
        scheduler="constant",
        warmup_ratio=0.0,
    )
    if compiled:
        compile_training(model)
    generator = LocalGenerator(model, tokenizer)
    sampling = Sampling(max_new_tokens=workload.max_new_tokens, temperature=1.0)
    settings = UpdateSettings(
        loss=LossSettings(loss_type="dapo", beta=BETA), temperature=1.0, max_tokens=MAX_TOKENS
    )
    size = workload.num_prompts
    prompts = make_prompts(size * total, workload.prompt_length, model.config.vocab_size)
    steps_s, generate_s, lengths = [], [], []
    for step in range(total):
        started = machine.now()
        completions = generator.generate(
            prompts[step * size : (step + 1) * size],
            sampling,
            num_samples=workload.group_size,
            seed=step,
        )
        generated = machine.now()
        groups = [_group(members) for members in completions]
        samples, _ = train_samples(groups, scale="group", mask_truncated=False)
        update(engine, reference, samples, settings)
        steps_s.append(machine.now() - started)
        generate_s.append(generated - started)
        lengths += [completion.num_tokens for members in completions for completion in members]
    mean_length = sum(lengths) / len(lengths)
    return {
        "steps": steps_s[warmup:],
        "generate": generate_s[warmup:],
        "mean_length": mean_length,
        "needed": machine.needed(model, workload, mean_length),
    }


def _group(members: list[Completion]) -> tuple[Episode, ...]:
    """Wrap completions as the training loop has them."""
    task = Task(question="", answer="", family="")
    return tuple(
        Episode(task=task, turns=(one,), score=Score(value=reward(one.token_ids)))
        for one in members
    )
