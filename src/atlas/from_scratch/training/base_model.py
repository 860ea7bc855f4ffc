"""The base model from random weights: worked tasks of mixed quality -> a small language model.

Input: task families and a size. Output: a run directory whose ``final/`` is the model that ships
in ``from_scratch/model/base``. What it is trained on is described in from_scratch/data/corpus.py;
held-out tasks (data/tasks.py) are never among it.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from atlas.config.base_model import BaseModelConfig
from atlas.data.chat import make_example
from atlas.data.tasks import is_held_out, task_stream
from atlas.from_scratch.data.corpus import Dialogue, write_dialogue
from atlas.from_scratch.model.sizes import llama_config
from atlas.from_scratch.model.tokenizer import train_tokenizer
from atlas.machine.shipped import SHIPPED
from atlas.models.checkpoints import load_model, load_tokenizer, save_model, weights_sha256
from atlas.parallel.engine.plain import PlainEngine
from atlas.prompts import Message
from atlas.prompts.chat import token_id
from atlas.prompts.folder import shipped_prompts
from atlas.run.metrics import MetricSink
from atlas.run.progress import Progress
from atlas.run.run_dir import RunDir
from atlas.run.seeding import derive_seed
from atlas.run.stopping import StopRequest
from atlas.training.loop import Loop
from atlas.training.micro_batches import micro_batches
from atlas.training.resuming import Resumable
from atlas.training.supervised import Step, run_steps

# Rows are sorted by length within a shard, so that a batch is cut from rows of like length.
_SHARD_ROWS = 16_384


def train_base_model(
    run: RunDir, config: BaseModelConfig, *, progress: Progress, stop: StopRequest
) -> Mapping[str, object]:
    """Train the base model; goes on from the newest whole checkpoint where there is one.

    Returns:
        Figures of the run, with ``sha256`` of the weights and, where the shipped model has the
        same shape, ``largest_difference``: how far the weights are from the shipped ones.

    Raises:
        Stopped: The user asked to stop; a checkpoint was written.
    """
    saved = Resumable(
        run.checkpoints,
        total_steps=config.max_steps,
        save_steps=config.save_steps,
        keep=1,
        stop=stop,
        note=partial(run.note, run.kind),
    )
    first = saved.first
    if saved.folder:
        model, tokenizer = load_model(saved.folder), load_tokenizer(saved.folder)
    else:
        tokenizer = _tokenizer(config)
        model = _random_model(config, tokenizer)
    model.set_attn_implementation("eager")  # faster than sdpa at this width on a CPU
    engine = PlainEngine(
        model,
        learning_rate=config.learning_rate,
        total_steps=config.max_steps,
        scheduler=config.lr_scheduler_type,
        warmup_ratio=config.warmup_ratio,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        betas=(0.9, 0.95),
    )
    chain = saved.restore(engine, config)

    progress.begin(config.max_steps, first)
    steps = itertools.islice(_steps(config, tokenizer), first, config.max_steps)
    total = config.max_steps
    with MetricSink(run, stage="base_model", total_steps=total, resume_step=first or None) as sink:
        loop = Loop(
            sink=sink,
            progress=progress,
            stop=stop,
            chain=chain,
            logging_steps=config.logging_steps,
            window=saved.window,
            first_step=first,
            after_step=lambda step: saved.save_if_due(step, engine, tokenizer),
        )
        loss = run_steps(engine, steps, loop, autocast=config.precision == "bf16")
    save_model(run.final, model, tokenizer)
    return {
        "parameters": model.num_parameters(),
        "steps": config.max_steps,
        "train_loss": loss,
        "sha256": weights_sha256(run.final),
        **_compare_with_shipped(run.final),
    }


def _tokenizer(config: BaseModelConfig) -> PreTrainedTokenizerBase:
    dialogues = itertools.islice(_dialogues(config, "tokenizer"), _SHARD_ROWS)
    texts = (
        "\n".join([*(m["content"] for m in _messages(dialogue)), dialogue.completion])
        for dialogue in dialogues
    )
    return train_tokenizer(texts, vocab_size=config.vocab_size)


def _random_model(config: BaseModelConfig, tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    torch.manual_seed(derive_seed(config.seed, "base weights"))
    return LlamaForCausalLM(
        llama_config(
            config.model_size,
            vocab_size=len(tokenizer),
            eos_token_id=token_id(tokenizer, "eos"),
            pad_token_id=token_id(tokenizer, "pad"),
        )
    )


def _steps(config: BaseModelConfig, tokenizer: PreTrainedTokenizerBase) -> Iterator[Step]:
    """Yield optimiser steps without end, each one batch of about the configured tokens."""
    dialogues = _dialogues(config, "training")
    for shard in itertools.count():
        rows = [
            make_example(
                tokenizer,
                _messages(dialogue),
                dialogue.completion,
                ended=dialogue.ended,
                max_length=config.max_seq_length,
            )
            for dialogue in itertools.islice(dialogues, _SHARD_ROWS)
        ]
        alone = [[row] for row in rows]
        batches = [
            [row for group in batch for row in group]
            for batch in micro_batches(alone, config.tokens_per_step, shared=False, whole=True)
        ]
        random.Random(derive_seed(config.seed, "batches", str(shard))).shuffle(batches)
        yield from ([batch] for batch in batches)


def _dialogues(config: BaseModelConfig, purpose: str) -> Iterator[Dialogue]:
    rng = random.Random(derive_seed(config.seed, "corpus", purpose))
    streams = [
        task_stream(family, derive_seed(config.seed, "corpus", purpose, family))
        for family in config.families
    ]
    while True:
        task = next(rng.choices(streams, weights=config.family_weights)[0])
        if not is_held_out(task):
            yield write_dialogue(task, rng)


def _messages(dialogue: Dialogue) -> list[Message]:
    return shipped_prompts("plain").render(dialogue.kind, **dialogue.fields)


def _compare_with_shipped(folder: Path) -> dict[str, object]:
    base = SHIPPED["base"]
    if not (base / "model.safetensors").exists():
        return {}
    shipped, made = load_model(base).state_dict(), load_model(folder).state_dict()
    figures: dict[str, object] = {"shipped_sha256": weights_sha256(base)}
    if {k: v.shape for k, v in shipped.items()} == {k: v.shape for k, v in made.items()}:
        figures["largest_difference"] = max(
            float((shipped[name] - made[name]).abs().max()) for name in shipped
        )
    return figures
