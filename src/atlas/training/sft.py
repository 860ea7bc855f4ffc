"""The SFT warm-up: good sessions -> a teacher that has seen what teaching looks like.

Input: examples of sessions (datasets/sft.py), a model to start from. Output: a run directory with
the trained teacher in ``final/``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence

from atlas.checkpoints import load_model, load_tokenizer, save_model
from atlas.config.sft import SFTConfig
from atlas.datasets.chat import Example
from atlas.errors import AtlasError
from atlas.runtime.engine.choice import engine_for
from atlas.runtime.lineage import lineage_files
from atlas.runtime.metrics import MetricSink
from atlas.runtime.precision import set_matmul_precision
from atlas.runtime.progress import Progress
from atlas.runtime.run_dir import RunDir
from atlas.runtime.seeding import derive_seed
from atlas.runtime.stopping import StopRequest
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
    """Train a teacher on examples; goes on from the newest whole checkpoint where there is one.

    Args:
        run: Where everything is written.
        config: Model, schedule, batch.
        train: What is learned from.
        held: What the evaluation loss is measured on; never learned from.
        progress: Told of every step.
        stop: Asked before every step.

    Returns:
        The figures of the run: examples, steps, first and last evaluation loss.

    Raises:
        AtlasError: There is nothing to learn from.
        Stopped: The user asked to stop; a checkpoint was written.
    """
    if not train:
        raise AtlasError(
            f"no session with guidance passed min_reward {config.min_reward} and status "
            f"{', '.join(config.status_filters)}; lower min_reward or collect more sessions"
        )
    set_matmul_precision(config.float32_matmul_precision)
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps
    total = math.ceil(len(train) / batch * config.num_train_epochs)
    saved = Resumable(
        run.checkpoints,
        total_steps=total,
        save_steps=config.save_steps,
        keep=config.save_total_limit,
        stop=stop,
        extra=lineage_files(run.path),
    )
    model = load_model(saved.folder or config.model_name_or_path)
    tokenizer = load_tokenizer(config.model_name_or_path)
    engine = engine_for(model, config, total_steps=total)
    saved.restore(engine)
    first = saved.first
    eval_batch = config.per_device_train_batch_size
    if first:
        before = float(saved.state["eval_loss_before"])
    else:
        before = evaluation_loss(model, held, batch_size=eval_batch)

    progress.begin(total - first)
    with MetricSink(run, stage="sft", total_steps=total, resume_step=first or None) as sink:
        if not first:
            sink.log(0, {"eval/loss": before})
        last = run_steps(
            engine,
            _epochs(train, config, first=first, total=total),
            first_step=first,
            sink=sink,
            progress=progress,
            stop=stop,
            logging_steps=config.logging_steps,
            after_step=lambda step: saved.save_if_due(
                step, engine, tokenizer, eval_loss_before=before
            ),
        )
        after = evaluation_loss(model, held, batch_size=eval_batch)
        sink.log(total, {"eval/loss": after})
    save_model(run.final, model, tokenizer, with_bin=True, extra=lineage_files(run.path))
    return {
        "examples": len(train),
        "held_out_examples": len(held),
        "steps": total,
        "train_loss": last,
        "eval_loss_before": before,
        "eval_loss": after,
    }


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
