"""The SFT warm-up: good sessions -> a teacher that has seen what teaching looks like.

Input: examples of sessions (datasets/sft.py), a model to start from. Output: a run directory with
the trained teacher in ``final/``: the one of all measured ones that had the lowest loss on held-out
examples, or the last one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from atlas.checkpoints import load_tokenizer, save_model
from atlas.config.resolve import supervised_lines
from atlas.config.sft import SFTConfig
from atlas.datasets.chat import Example
from atlas.datasets.packing import fullness, pack
from atlas.errors import AtlasError
from atlas.runtime.engine.plain import engine_for
from atlas.runtime.lineage import lineage_files
from atlas.runtime.metrics import MetricSink
from atlas.runtime.progress import Progress
from atlas.runtime.run_dir import RunDir
from atlas.runtime.seeding import derive_seed
from atlas.runtime.stopping import StopRequest
from atlas.training.best import BestModel
from atlas.training.documents import check_keeps_apart
from atlas.training.evaluations import Evaluations
from atlas.training.policy import Policy, load_policy
from atlas.training.resuming import Resumable
from atlas.training.supervised import Step, evaluation_loss, run_steps


def train_sft(
    run: RunDir,
    config: SFTConfig,
    train: Sequence[Example],
    held: Sequence[Example],
    *,
    progress: Progress,
    stop: StopRequest,
) -> Mapping[str, float]:
    """Train a teacher; goes on from the newest whole checkpoint. Returns the run's figures.

    Raises:
        AtlasError: There is nothing to learn from.
        Stopped: The user asked to stop; a checkpoint was written.
    """
    rows = _rows(train, config)
    total = num_steps(len(rows), config)
    extra = lineage_files(run.path)
    saved = Resumable(
        run.checkpoints,
        total_steps=total,
        save_steps=config.save_steps,
        keep=config.save_total_limit,
        stop=stop,
        extra=extra,
    )
    policy = _policy(config, saved.folder)
    model, tokenizer = policy.model, load_tokenizer(config.model_name_or_path)
    engine = engine_for(model, config, total_steps=total)
    saved.restore(engine)
    first, eval_batch = saved.first, config.per_device_train_batch_size

    def save_best(folder: Path, texts: dict[str, str]) -> None:
        save_model(folder, model, tokenizer, extra=texts)

    best = BestModel(run.checkpoints, resumed=bool(first), save=save_best)

    progress.begin(total - first)
    with MetricSink(run, stage="sft", total_steps=total, resume_step=first or None) as sink:
        for line in (*policy.lines, *_opening_lines(train, rows, total, config)):
            sink.note(line)
        evaluations = Evaluations(
            measure=lambda: evaluation_loss(model, held, batch_size=eval_batch),
            best=best if config.load_best_model_at_end else None,
            sink=sink,
            every=config.eval_steps,
            total=total,
            before=saved.state.get("eval_loss_before"),
        )

        def after_step(step: int) -> None:
            evaluations.after_step(step)
            saved.save_if_due(step, engine, tokenizer, eval_loss_before=evaluations.before)

        last = run_steps(
            engine,
            _epochs(rows, config, first=first, total=total),
            first_step=first,
            sink=sink,
            progress=progress,
            stop=stop,
            logging_steps=config.logging_steps,
            autocast=policy.autocast,
            dropout_seed=derive_seed(config.seed, "dropout"),
            after_step=after_step,
        )
        sink.note(evaluations.verdict)
    if evaluations.chosen.step == total:
        save_model(run.final, model, tokenizer, with_bin=True, extra=extra)
    else:
        best.publish(run.final, extra)
    best.forget()
    return {
        "examples": len(train),
        "held_out_examples": len(held),
        "steps": total,
        "train_loss": last,
        **evaluations.figures,
    }


def num_steps(num_rows: int, config: SFTConfig, *, world_size: int = 1) -> int:
    """Return the optimiser steps of a run: every epoch takes each row once."""
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps * world_size
    return math.ceil(num_rows / batch * config.num_train_epochs)


def _rows(train: Sequence[Example], config: SFTConfig) -> Sequence[Example]:
    if not train:
        raise AtlasError(
            f"no session with guidance passed min_reward {config.min_reward} and status "
            f"{', '.join(config.status_filters)}; lower min_reward or collect more sessions"
        )
    return pack(train, config.max_seq_length) if config.packing else train


def _policy(config: SFTConfig, checkpoint: Path | None) -> Policy:
    policy = load_policy(config, checkpoint)
    if config.packing:
        check_keeps_apart(policy.model)
    return policy


def _opening_lines(
    train: Sequence[Example], rows: Sequence[Example], total: int, config: SFTConfig
) -> list[str]:
    """Say what a step consists of, and what packing gains."""
    lines = [*supervised_lines(config, num_rows=len(rows), num_steps=total)]
    if config.packing:
        length = config.max_seq_length
        full = 100 * fullness(rows, length)
        lines.append(
            f"packing: {len(train)} examples in {len(rows)} rows of at most {length} tokens, "
            f"{full:.0f} % full"
        )
    return lines


def _epochs(
    examples: Sequence[Example], config: SFTConfig, *, first: int, total: int
) -> Iterator[Step]:
    """Yield the micro-batches of steps ``first`` to ``total``; each epoch has its own order."""
    size = config.per_device_train_batch_size
    per_step = size * config.gradient_accumulation_steps
    epoch, waiting = 0, list[Example]()
    for step in range(total):
        while len(waiting) < per_step:
            order = list(examples)
            random.Random(derive_seed(config.seed, "sft order", str(epoch))).shuffle(order)
            waiting += order
            epoch += 1
        chosen, waiting = waiting[:per_step], waiting[per_step:]
        if step >= first:
            yield [chosen[i : i + size] for i in range(0, per_step, size)]
