"""The stages of a model from random weights, each a function of the job.

Input of each: what the stages before it left in the run directory. Output: files there, and key
figures. Nothing is passed on in memory.

    tokenizer  corpus                    -> tokenizer/
    pretrain   random weights, corpus    -> pretrained/
    ranked     pretrained/, ranked data  -> final/
    evaluate   both, validation data     -> eval/answers.json
    save       final/                    -> models/atlas_<size>/
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atlas.config.ranked import AUTO, RankedConfig
from atlas.data.ranked import RankedRecord
from atlas.data.training_sets import counts
from atlas.errors import AtlasError
from atlas.from_scratch.data.text import documents, packed_rows
from atlas.from_scratch.model.folder import save_model_folder
from atlas.from_scratch.model.sizes import size_named
from atlas.from_scratch.model.tokenizer import train_tokenizer
from atlas.from_scratch.planning import MemorySettings, answer_rows, longest_of
from atlas.from_scratch.proof import AFTER, BEFORE, RANDOM, ProofSetup, measure
from atlas.from_scratch.training.batches import ranked_examples
from atlas.from_scratch.training.group_steps import Precision
from atlas.from_scratch.training.loops import (
    Training,
    pretrain,
    pretrain_on_text,
    pretrained_folder,
    random_model,
    rank,
    weights_dtype,
)
from atlas.machine.precision import computes_bf16, training_device
from atlas.models.checkpoints import load_model, load_tokenizer
from atlas.prompts.chat import encode
from atlas.run.files import write_atomic
from atlas.run.progress import Progress
from atlas.run.run_dir import RunDir
from atlas.run.stages import Stage
from atlas.run.stopping import StopRequest
from atlas.training.micro_batches import Group

_TOKENIZER_TEXTS = 200_000
"""Texts that the tokenizer is trained on at most; more change no merge that matters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FromScratch:
    """What every stage is given."""

    run: RunDir
    config: RankedConfig
    settings: MemorySettings
    """The planner's."""
    train: Sequence[RankedRecord]
    validation: Sequence[RankedRecord]
    """Read once, before the first stage; no prompt is in both."""

    @property
    def tokenizer_folder(self) -> Path:
        """Where the tokenizer lies."""
        return self.run.path / "tokenizer"

    @property
    def answers(self) -> Path:
        """What the models answered, before and after the ranked stage."""
        return self.run.path / "eval" / "answers.json"

    def training(self, progress: Progress, stop: StopRequest) -> Training:
        """Return what the training stages are given."""
        return Training(
            run=self.run,
            config=self.config,
            tokenizer=load_tokenizer(self.tokenizer_folder),
            precision=Precision(
                autocast=self.settings.precision == "bf16",
                max_tokens=self.settings.max_tokens,
            ),
            bf16_weights=self.settings.precision == "bf16_weights",
            gradient_checkpointing=self.settings.gradient_checkpointing,
            progress=progress,
            stop=stop,
        )


def stages_of(job: FromScratch) -> Mapping[str, Stage]:
    """Return the stages of a job in their order; what trains a model also measures and saves it."""
    training = {"pretrain": pretraining, "ranked": ranking}
    chosen: dict[str, Callable[..., Mapping[str, Any]]] = {"tokenizer": make_tokenizer}
    chosen |= {name: stage for name, stage in training.items() if name in job.config.stages}
    if len(chosen) > 1:
        chosen |= {"evaluate": evaluate} if job.validation else {}
        chosen["save"] = save
    return {name: partial(stage, job) for name, stage in chosen.items()}


def make_tokenizer(job: FromScratch, progress: Progress, stop: StopRequest) -> Mapping[str, Any]:
    """Train the tokenizer on the corpus, or take the one that is named."""
    progress.begin(1)
    config = job.config
    named = config.model_name_or_path if config.tokenizer == AUTO else config.tokenizer
    if named is None:
        size = config.vocab_size or size_named(config.model_size).vocab
        tokenizer = train_tokenizer(_texts(job), vocab_size=size)
    else:
        tokenizer = load_tokenizer(named)
    if job.validation:
        _validation_examples(job, tokenizer)  # an error now, not after the training
    tokenizer.save_pretrained(job.tokenizer_folder)
    progress.advance(note=f"{len(tokenizer)} entries")
    return {"entries": len(tokenizer)}


def pretraining(job: FromScratch, progress: Progress, stop: StopRequest) -> Mapping[str, Any]:
    """Teach the model language, on the responses or on any text."""
    training = job.training(progress, stop)
    start = partial(_beginning, job, training.tokenizer)
    if job.config.corpus is None:
        examples, left_out = _examples(job, training, whole=False)
        figures = pretrain(training, start, examples)
        return {**figures, "rows": len(examples), **_said(left_out)}
    texts = documents(job.config.corpus)
    rows = packed_rows(texts, training.tokenizer, length=job.config.max_seq_length)
    return {**pretrain_on_text(training, start, rows), "rows": len(rows)}


def ranking(job: FromScratch, progress: Progress, stop: StopRequest) -> Mapping[str, Any]:
    """Teach the model which responses are better."""
    training = job.training(progress, stop)
    examples, left_out = _examples(job, training, whole=True)
    start = partial(_stage_zero, job, training.tokenizer)
    return {**rank(training, start, examples), "prompts": len(examples), **_said(left_out)}


def evaluate(job: FromScratch, progress: Progress, stop: StopRequest) -> Mapping[str, Any]:
    """Measure the model before and after the ranked stage on the validation data."""
    training = job.training(progress, stop)
    config = job.config
    tokenizer = training.tokenizer
    examples = _validation_examples(job, tokenizer)
    asked = [
        (record.task, len(encode(tokenizer, [{"role": "user", "content": record.prompt}])))
        for record in job.validation
        if record.task is not None
    ]
    # A longer prompt leaves no room for an answer.
    asked = [(task, length) for task, length in asked if length < config.max_seq_length]
    asked = asked[: config.eval_prompts]
    models: dict[str, Callable[[], PreTrainedModel]] = {}
    if "pretrain" in config.stages and config.model_name_or_path is None:
        models[RANDOM] = partial(_beginning, job, tokenizer)
    models[BEFORE] = partial(_stage_zero, job, tokenizer)
    if "ranked" in config.stages:
        dtype = weights_dtype(training.bf16_weights)
        models[AFTER] = partial(load_model, job.run.final, dtype=dtype)
    measured = measure(
        {name: partial(_measured, load) for name, load in models.items()},
        ProofSetup(
            examples=examples,
            tasks=[task for task, _ in asked],
            tokenizer=tokenizer,
            precision=training.precision,
            max_new_tokens=config.eval_max_new_tokens,
            max_rows=answer_rows(
                config,
                job.settings,
                longest=longest_of(job.train, config),
                tokens=max((length for _, length in asked), default=1) + config.eval_max_new_tokens,
            ),
        ),
        progress=progress,
        stop=stop,
    )
    text = json.dumps(measured.answers, indent=1, ensure_ascii=False)
    write_atomic(job.answers, text + "\n")
    return measured.figures


def save(job: FromScratch, progress: Progress, stop: StopRequest) -> Mapping[str, Any]:
    """Write the folder of the guide's name."""
    progress.begin(1)
    source = job.run.final if "ranked" in job.config.stages else pretrained_folder(job.run)
    stats = {
        "model_size": None if job.config.model_name_or_path else job.config.model_size,
        "run": job.config.output_dir,
        "seed": job.config.seed,
        "precision": job.settings.precision,
        "gradient_checkpointing": job.settings.gradient_checkpointing,
        "max_tokens_per_micro_batch": job.settings.max_tokens,
        **{
            name: job.run.stage_summary(name)
            for name in ("tokenizer", "pretrain", "ranked", "evaluate")
            if job.run.stage_done(name)
        },
    }
    folder = Path(job.config.model_dir)
    parameters = save_model_folder(source, folder, stats)
    job.run.note("save", f"model: {folder}")
    progress.advance(note=str(folder))
    return {"folder": str(folder), "parameters": parameters}


def _beginning(job: FromScratch, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return the model that pre-training starts from."""
    dtype = weights_dtype(job.settings.precision == "bf16_weights")
    if job.config.model_name_or_path is not None:
        return load_model(job.config.model_name_or_path, dtype=dtype)
    return random_model(job.config, tokenizer, dtype)


def _stage_zero(job: FromScratch, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return the model that the ranked stage starts from."""
    if "pretrain" in job.config.stages:
        dtype = weights_dtype(job.settings.precision == "bf16_weights")
        return load_model(pretrained_folder(job.run), dtype=dtype)
    return _beginning(job, tokenizer)


def _measured(load: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    """Return a model where it is measured, in a precision that is computed fast there."""
    model: Any = load()
    return model.to(device=training_device(), dtype=None if computes_bf16() else torch.float32)


def _texts(job: FromScratch) -> list[str]:
    if job.config.corpus is not None:
        return list(documents(job.config.corpus))
    texts = [text for record in job.train for text in (record.prompt, *record.responses)]
    return texts[:_TOKENIZER_TEXTS]


def _validation_examples(job: FromScratch, tokenizer: PreTrainedTokenizerBase) -> list[Group]:
    config = job.config
    examples, _ = ranked_examples(
        job.validation, tokenizer, max_length=config.max_seq_length, whole=True
    )
    if not examples:
        raise AtlasError(
            f"no best response in {config.validation_data} fits into max_seq_length; raise it"
        )
    return examples


def _examples(
    job: FromScratch, training: Training, *, whole: bool
) -> tuple[list[Group], Mapping[str, int]]:
    """Return what a stage learns from and what was left out, which is said."""
    examples, left_out = ranked_examples(
        job.train, training.tokenizer, max_length=job.config.max_seq_length, whole=whole
    )
    if not examples:
        raise AtlasError(
            f"no response in {job.config.train_data} fits into max_seq_length; raise it"
        )
    if left_out:
        training.progress.say(f"left out: {counts(left_out)}")
    return examples, left_out


def _said(left_out: Mapping[str, int]) -> Mapping[str, Any]:
    return {"left_out": dict(left_out)} if left_out else {}
