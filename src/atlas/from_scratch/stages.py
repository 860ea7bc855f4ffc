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

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atlas.checkpoints import load_model, load_tokenizer
from atlas.config.ranked import AUTO, RankedConfig
from atlas.datasets.ranked import RankedRecord, check_no_shared_prompt, read_ranked
from atlas.errors import AtlasError
from atlas.evaluation.answers import greedy_answers
from atlas.evaluation.stats import paired_bootstrap, wilson
from atlas.from_scratch.model_folder import save_model_folder
from atlas.from_scratch.planning import Plan
from atlas.runtime.files import write_atomic
from atlas.runtime.progress import Progress
from atlas.runtime.run_dir import RunDir
from atlas.runtime.stages import Stage
from atlas.runtime.stopping import StopRequest
from atlas.small_lm.sizes import size_named
from atlas.small_lm.tokenizer import train_tokenizer
from atlas.training.from_scratch import (
    Training,
    pretrain,
    pretrain_on_text,
    pretrained_folder,
    random_model,
    rank,
)
from atlas.training.group_steps import Precision
from atlas.training.ranked_batches import RankedExample, ranked_examples
from atlas.training.ranking import ranking_figures
from atlas.training.text_steps import documents, packed_rows

_TOKENIZER_TEXTS = 200_000
"""Texts that the tokenizer is trained on at most; more change no merge that matters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FromScratch:
    """What every stage is given."""

    run: RunDir
    config: RankedConfig
    plan: Plan

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
                autocast=self.plan.precision == "bf16",
                max_tokens=self.config.max_tokens_per_micro_batch,
            ),
            bf16_weights=self.plan.precision == "bf16_weights",
            progress=progress,
            stop=stop,
        )


def stages_of(job: FromScratch) -> Mapping[str, Stage]:
    """Return the stages of a job in their order; evaluation and saving are never left out."""
    chosen: dict[str, Callable[..., Mapping[str, Any]]] = {
        "tokenizer": make_tokenizer,
        **({"pretrain": pretraining} if "pretrain" in job.config.stages else {}),
        **({"ranked": ranking} if "ranked" in job.config.stages else {}),
        "evaluate": evaluate,
        "save": save,
    }
    return {name: partial(stage, job) for name, stage in chosen.items()}


def make_tokenizer(job: FromScratch, progress: Progress, stop: StopRequest) -> Mapping[str, Any]:
    """Train the tokenizer on the corpus, or take the one that is named."""
    progress.begin(1)
    config = job.config
    named = config.model_name_or_path if config.tokenizer == AUTO else config.tokenizer
    if named is None:
        size = config.vocab_size or size_named(config.model_size).vocab
        tokenizer = train_tokenizer(_texts(config), vocab_size=size)
    else:
        tokenizer = load_tokenizer(named)
    tokenizer.save_pretrained(job.tokenizer_folder)
    progress.advance(note=f"{len(tokenizer)} entries")
    return {"entries": len(tokenizer)}


def pretraining(job: FromScratch, progress: Progress, stop: StopRequest) -> Mapping[str, Any]:
    """Teach the model language, on the responses or on any text."""
    training = job.training(progress, stop)
    start = partial(_beginning, job, training.tokenizer)
    if job.config.corpus is None:
        examples, left_out = _examples(job, training.tokenizer, job.config.train_data)
        figures = pretrain(training, start, examples)
        return {**figures, "rows": len(examples), **_said(left_out)}
    texts = documents(job.config.corpus)
    rows = packed_rows(texts, training.tokenizer, length=job.config.max_seq_length)
    return {**pretrain_on_text(training, start, rows), "rows": len(rows)}


def ranking(job: FromScratch, progress: Progress, stop: StopRequest) -> Mapping[str, Any]:
    """Teach the model which responses are better."""
    training = job.training(progress, stop)
    examples, left_out = _examples(job, training.tokenizer, job.config.train_data)
    start = partial(_stage_zero, job, training.tokenizer)
    return {**rank(training, start, examples), "prompts": len(examples), **_said(left_out)}


def evaluate(job: FromScratch, progress: Progress, stop: StopRequest) -> Mapping[str, Any]:
    """Measure the model before and after the ranked stage on the validation data."""
    training = job.training(progress, stop)
    records = read_ranked(job.config.validation_data)
    check_no_shared_prompt(read_ranked(job.config.train_data), records)
    examples, _ = ranked_examples(records, training.tokenizer, max_length=job.config.max_seq_length)
    tasks = [record.task for record in records if record.task is not None]
    tasks = tasks[: job.config.eval_prompts]
    models = {"stage_0": partial(_stage_zero, job, training.tokenizer)}
    if "ranked" in job.config.stages:
        models["ranked"] = partial(load_model, job.run.final)
    progress.begin(len(models))
    figures: dict[str, Any] = {"validation_prompts": len(examples), "verified_prompts": len(tasks)}
    correct: dict[str, list[bool]] = {}
    texts: dict[str, list[str]] = {}
    for name, load in models.items():
        stop.check()
        model = load()
        ranked = ranking_figures(model, examples, training.precision)
        figures[f"{name}_ranking_accuracy"] = ranked.accuracy
        figures[f"{name}_loss"] = ranked.loss
        if tasks:
            answers = greedy_answers(
                model, training.tokenizer, tasks, max_new_tokens=job.config.eval_max_new_tokens
            )
            correct[name] = [answer.correct for answer in answers]
            texts[name] = [answer.text for answer in answers]
            figures[f"{name}_verified"] = _interval(correct[name])
        progress.advance(note=f"{name}: ranking accuracy {ranked.accuracy:.3f}")
    if len(correct) == 2:
        differences = [
            float(after) - float(before)
            for before, after in zip(correct["stage_0"], correct["ranked"], strict=True)
        ]
        gain = paired_bootstrap(differences)
        figures["verified_gain"] = {"value": gain.value, "low": gain.low, "high": gain.high}
    _write_answers(job.answers, [task.question for task in tasks], texts, correct)
    return figures


def save(job: FromScratch, progress: Progress, stop: StopRequest) -> Mapping[str, Any]:
    """Write the folder of the guide's name."""
    progress.begin(1)
    source = job.run.final if "ranked" in job.config.stages else pretrained_folder(job.run)
    stats = {
        "model_size": job.config.model_size,
        "seed": job.config.seed,
        "precision": job.plan.precision,
        **{
            name: job.run.stage_summary(name)
            for name in ("tokenizer", "pretrain", "ranked", "evaluate")
            if job.run.stage_done(name)
        },
    }
    folder = Path(job.config.model_dir)
    parameters = save_model_folder(source, folder, stats)
    progress.advance(note=str(folder))
    return {"folder": str(folder), "parameters": parameters}


def _beginning(job: FromScratch, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return the model that pre-training starts from."""
    if job.config.model_name_or_path is not None:
        return load_model(job.config.model_name_or_path)
    return random_model(job.config, tokenizer)


def _stage_zero(job: FromScratch, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return the model that the ranked stage starts from."""
    if "pretrain" in job.config.stages:
        return load_model(pretrained_folder(job.run))
    return _beginning(job, tokenizer)


def _texts(config: RankedConfig) -> list[str]:
    if config.corpus is not None:
        return list(documents(config.corpus))
    records: Sequence[RankedRecord] = read_ranked(config.train_data)
    texts = [text for record in records for text in (record.prompt, *record.responses)]
    return texts[:_TOKENIZER_TEXTS]


def _examples(
    job: FromScratch, tokenizer: PreTrainedTokenizerBase, path: str
) -> tuple[list[RankedExample], Mapping[str, int]]:
    examples, left_out = ranked_examples(
        read_ranked(path), tokenizer, max_length=job.config.max_seq_length
    )
    if not examples:
        raise AtlasError(f"no response in {path} fits into max_seq_length; raise it")
    return examples, left_out


def _said(left_out: Mapping[str, int]) -> Mapping[str, Any]:
    return {"left_out": dict(left_out)} if left_out else {}


def _interval(correct: Sequence[bool]) -> Mapping[str, float]:
    interval = wilson(sum(correct), len(correct))
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def _write_answers(
    path: Path,
    questions: Sequence[str],
    texts: Mapping[str, Sequence[str]],
    correct: Mapping[str, Sequence[bool]],
) -> None:
    rows = [
        {
            "prompt": question,
            **{
                name: {"text": texts[name][place], "correct": correct[name][place]}
                for name in texts
            },
        }
        for place, question in enumerate(questions)
    ]
    write_atomic(path, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
