"""The SFT warm-up: good sessions -> a teacher that has seen what teaching looks like.

Input: examples of sessions (data/sft.py), a model to start from. Output: a run directory with
the trained teacher in ``final/``: the one of all measured ones that had the lowest loss on held-out
examples, or the last one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from atlas.config.resolve import supervised_lines
from atlas.config.sft import SFTConfig
from atlas.errors import AtlasError
from atlas.models.checkpoints import check_rows, copy_model, load_tokenizer, save_model
from atlas.models.passes.forward import prepare_forward
from atlas.models.passes.padded import check_keeps_apart
from atlas.models.policy import Policy, load_policy
from atlas.parallel.distributed import ALONE, Ranks, agreed
from atlas.parallel.engine.choice import engine_for, loading_device
from atlas.parallel.engine.protocol import Engine
from atlas.parallel.sink import sink_on
from atlas.run.progress import Progress
from atlas.run.prompts_kept import model_files
from atlas.run.run_dir import RunDir
from atlas.run.seeding import derive_seed
from atlas.run.stopping import StopRequest
from atlas.training.best import BestModel
from atlas.training.evaluations import Evaluations
from atlas.training.loop import Loop
from atlas.training.micro_batches import fullness, pack
from atlas.training.resuming import Resumable, resumable
from atlas.training.supervised import Step, evaluation_loss, run_steps
from atlas.types import Tokens


def train_sft(
    run: RunDir,
    config: SFTConfig,
    train: Sequence[Tokens],
    held: Sequence[Tokens],
    *,
    progress: Progress,
    stop: StopRequest,
    ranks: Ranks = ALONE,
) -> Mapping[str, float]:
    """Train a teacher; goes on from the newest whole checkpoint. Returns the run's figures.

    Every rank calls this with the same; rank 0 alone reads and writes ``run``.

    Raises:
        AtlasError: There is nothing to learn from.
        Stopped: The user asked to stop; a checkpoint was written.
    """
    rows = _rows(train, config)
    total = num_steps(len(rows), config, world_size=ranks.size)
    stop = agreed(ranks, stop)
    saved = resumable(run, config, total_steps=total, stop=stop, ranks=ranks)
    per_step = check_batch(config, saved.state.get("examples_per_step"), ranks.size)
    policy, engine, notes = _engine(config, saved, total, ranks)
    chain = saved.restore(engine, config)
    tokenizer = load_tokenizer(config.model_name_or_path)
    check_rows(policy.model, tokenizer, (row.ids for row in (*train, *held)))
    first, size = saved.first, config.per_device_train_batch_size
    passes: Any = {"autocast": policy.autocast, "ranks": ranks}
    save = partial(save_model, model=engine.model, tokenizer=tokenizer, dtype=policy.final["dtype"])
    best = BestModel(
        run.checkpoints, resumed=bool(first), save=save, refresh=engine.refresh, ranks=ranks
    )
    progress.begin(total, first)
    with sink_on(ranks, run, config, stage="sft", total_steps=total, first_step=first) as sink:
        for line in (*notes, *_opening_lines(train, rows, total, config, ranks.size)):
            sink.note(line)
        evaluations = Evaluations(
            measure=partial(evaluation_loss, engine, held, batch_size=size, **passes),
            best=best if config.load_best_model_at_end else None,
            sink=sink,
            every=config.eval_steps,
            total=total,
            before=saved.state.get("eval_loss_before"),
        )

        def after_step(step: int) -> None:
            evaluations.after_step(step)
            kept = {"examples_per_step": per_step, "eval_loss_before": evaluations.before}
            saved.save_if_due(step, engine, tokenizer, **kept)

        last = run_steps(
            engine,
            _epochs(rows, config, first=first, total=total, num_processes=ranks.size),
            Loop(
                sink=sink,
                progress=progress,
                stop=stop,
                chain=chain,
                logging_steps=config.logging_steps,
                window=saved.window,
                first_step=first,
                after_step=after_step,
            ),
            dropout_seed=derive_seed(config.seed, "dropout"),
            **passes,
        )
        sink.note(evaluations.verdict)
    engine.refresh()
    if ranks.is_main:
        chosen = None if evaluations.chosen.step == total else best.folder
        _write_final(run, save, chosen, with_bin=policy.final["with_bin"])
    return {
        "examples": len(train),
        "held_out_examples": len(held),
        "steps": total,
        "train_loss": last,
        **evaluations.figures,
    }


def _write_final(
    run: RunDir, save: Callable[..., None], best: Path | None, *, with_bin: bool
) -> None:
    """Write the trained model as it is now, or the best one that was kept."""
    options = {"with_bin": with_bin, "extra": model_files(run.path)}
    if best is None:
        save(run.final, **options)
    else:
        copy_model(best, run.final, **options)


def num_steps(num_rows: int, config: SFTConfig, *, world_size: int = 1) -> int:
    """Return the optimiser steps of a run: every epoch takes each row once, up to max_steps."""
    epochs = math.ceil(num_rows / examples_per_step(config, world_size) * config.num_train_epochs)
    return min(epochs, config.max_steps or epochs)


def examples_per_step(config: SFTConfig, num_processes: int) -> int:
    """Return what one optimiser step learns from: examples, or rows where they are packed."""
    per_process = config.per_device_train_batch_size * config.gradient_accumulation_steps
    return per_process * num_processes


def check_batch(config: SFTConfig, before: int | None, num_processes: int) -> int:
    """Return the examples of a step; they must be those that the run was begun with.

    Args:
        config: Of now.
        before: Examples of a step when it was begun; None where it is new.
        num_processes: Of now.

    Raises:
        AtlasError: They differ.
    """
    now = examples_per_step(config, num_processes)
    if before is not None and before != now:
        raise AtlasError(
            f"the run was begun with {before} examples a step, but {num_processes} process(es) make"
            f" it {now}; give gradient_accumulation_steps with which it is {before} again, and "
            "--override-config"
        )
    return now


def _rows(train: Sequence[Tokens], config: SFTConfig) -> Sequence[Tokens]:
    if not train:
        raise AtlasError(
            f"no session with guidance passed min_reward {config.min_reward} and status "
            f"{', '.join(config.status_filters)}; lower min_reward or collect more sessions"
        )
    return pack(train, config.max_seq_length) if config.packing else train


def _engine(
    config: SFTConfig, saved: Resumable, total: int, ranks: Ranks
) -> tuple[Policy, Engine, list[str]]:
    """Return the model, what trains it from where it was left, and what the log should say."""
    device = loading_device(config, ranks.size, main=ranks.is_main)
    policy = load_policy(config, saved.folder, device=device)
    if config.packing and policy.model.device.type != "meta":
        check_keeps_apart(policy.model)
    notes = [*policy.lines]
    engine = engine_for(
        policy.model,
        config,
        total_steps=total,
        ranks=ranks,
        ready=prepare_forward,
        say=notes.append,
    )
    return policy, engine, notes


def _opening_lines(
    train: Sequence[Tokens], rows: Sequence[Tokens], total: int, config: SFTConfig, size: int
) -> list[str]:
    """Say what a step consists of, and what packing gains."""
    lines = [*supervised_lines(config, num_rows=len(rows), num_steps=total, world_size=size)]
    if config.packing:
        length = config.max_seq_length
        full = 100 * fullness(rows, length)
        lines.append(
            f"packing: {len(train)} examples in {len(rows)} rows of at most {length} tokens, "
            f"{full:.0f} % full"
        )
    return lines


def _epochs(
    examples: Sequence[Tokens],
    config: SFTConfig,
    *,
    first: int,
    total: int,
    num_processes: int = 1,
) -> Iterator[Step]:
    """Yield the micro-batches of steps ``first`` to ``total``; each epoch has its own order.

    Their order is that of one process which takes as many examples a step.
    """
    size = config.per_device_train_batch_size
    per_step = examples_per_step(config, num_processes)
    epoch, waiting = 0, list[Tokens]()
    for step in range(total):
        while len(waiting) < per_step:
            order = list(examples)
            random.Random(derive_seed(config.seed, "sft order", str(epoch))).shuffle(order)
            waiting += order
            epoch += 1
        chosen, waiting = waiting[:per_step], waiting[per_step:]
        if step >= first:
            yield [chosen[i : i + size] for i in range(0, per_step, size)]
