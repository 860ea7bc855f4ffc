"""Stage 0 and the ranked stage against the plain ways to the same updates.

    python benchmarks/from_scratch_speed.py                  about five minutes on two cores

Stage 0: `transformers.Trainer` on the same model, with the same prompts and responses as rows, the
same rows a step, AdamW (fused), float32 and threads; it groups rows by length, and neither logs nor
saves. Ranked: the same loss on a forward of every response with its prompt. Both sides of a row
alternate in this process or follow one another; the medians of the steps after the first two are
printed, with the tokens a second of responses, which both learn from alike.
"""

from __future__ import annotations

import argparse
import copy
import random
import tempfile
from collections.abc import Callable, Sequence
from itertools import chain
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from sides.machine import now, prepare
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from atlas.config.ranked import RankedConfig
from atlas.from_scratch.data.tasks import ranked_from_tasks
from atlas.from_scratch.model.tokenizer import train_tokenizer
from atlas.from_scratch.training.batches import num_trained, ranked_examples, ranked_group
from atlas.from_scratch.training.group_steps import (
    Precision,
    backward,
    batches_of,
    likelihood_objective,
    ranked_objective,
)
from atlas.from_scratch.training.loops import random_model
from atlas.models.passes.forward import logprobs
from atlas.parallel.engine.plain import PlainEngine
from atlas.training.micro_batches import Group

console = Console(highlight=False, width=120)

RESPONSES, WARM_UP = 5, 2
PRECISION = Precision(autocast=False, max_tokens=8192)
Step = Sequence[Group]


def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="nano")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--prompts", type=int, default=32, help="of one step, as in nano.json")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    prepare(arguments.threads)
    table = Table(title=f"{arguments.size}, {arguments.prompts} prompts of {RESPONSES} responses")
    for column in ("stage", "ours, ms a step", "other, ms", "ours, tokens/s", "ratio", "aim"):
        table.add_column(column)
    table.add_row("stage 0 / Trainer", *cells(*stage_0(arguments)), "1.5")
    table.add_row("ranked / plain forward", *cells(*ranked(arguments)), "2.0")
    console.print(table)


def cells(ours: float, other: float, tokens: float) -> list[str]:
    """Return the cells of a row, from seconds a step."""
    speed = f"{tokens / ours:,.0f}"
    return [f"{1000 * ours:.0f}", f"{1000 * other:.0f}", speed, f"{other / ours:.2f}"]


def stage_0(arguments: argparse.Namespace) -> tuple[float, float, float]:
    """Return median seconds a step of both, and the response tokens of a step."""
    records = ranked_from_tasks(
        ["chain_sum", "basic_arithmetic"],
        arguments.steps * arguments.prompts,
        responses_per_prompt=RESPONSES,
        seed=0,
    )
    texts = [text for record in records for text in (record.prompt, *record.responses)]
    tokenizer = train_tokenizer(texts, vocab_size=480)
    examples, _ = ranked_examples(records, tokenizer, max_length=512)
    examples.sort(key=lambda example: example.longest)
    steps = [
        examples[i : i + arguments.prompts] for i in range(0, len(examples), arguments.prompts)
    ]
    random.Random(0).shuffle(steps)
    model = random_model(RankedConfig(model_size=arguments.size), tokenizer)
    other = trainer_seconds(copy.deepcopy(model), tokenizer, steps)
    engine = engine_for(model)
    seconds = []
    for step in steps:
        started = now()
        backward(engine, step, likelihood_objective, PRECISION)
        engine.step()
        seconds.append(now() - started)
    tokens = num_trained(examples) / len(steps)
    return median(seconds[WARM_UP:]), other, tokens


def trainer_seconds(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, steps: Sequence[Step]
) -> float:
    """Return the median seconds of a step of `transformers.Trainer` on the same rows."""
    rows = [row for step in steps for example in step for row in rows_of(example)]
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=len(rows) // len(steps),
                max_steps=len(steps),
                learning_rate=1e-3,
                optim="adamw_torch_fused",
                train_sampling_strategy="group_by_length",
                max_grad_norm=1.0,
                use_cpu=True,
                report_to=[],
                logging_strategy="no",
                save_strategy="no",
                disable_tqdm=True,
            ),
            train_dataset=rows,  # pyright: ignore[reportArgumentType] - any sequence will do
            data_collator=DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=None),
            callbacks=[clock],
        )
        trainer.train()
    return median(clock.seconds[WARM_UP:])


class StepClock(TrainerCallback):
    """Keeps the seconds from one step's end to the next one's."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._last = now()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep a step."""
        self.seconds.append(now() - self._last)
        self._last = now()


def rows_of(example: Group) -> list[dict[str, list[int]]]:
    """Return an example as rows in which the responses are learned."""
    return [
        {
            "input_ids": list(row.ids),
            "attention_mask": [1] * len(row.ids),
            "labels": [-100] * row.prefix + list(row.ids[row.prefix :]),
        }
        for row in example
    ]


def ranked(arguments: argparse.Namespace) -> tuple[float, float, float]:
    """Return the same for the ranked stage, prompts of 128 and responses of 32 tokens."""
    rng = random.Random(0)
    tokenizer = train_tokenizer(["Answer: 1"] * 2, vocab_size=300)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(5, 260) for _ in range(count))

    step = [
        ranked_group(
            ids(128),
            [ids(32) for _ in range(RESPONSES)],
            [-float(k) for k in range(RESPONSES)],
        )
        for _ in range(arguments.prompts)
    ]
    model = random_model(RankedConfig(model_size=arguments.size), tokenizer)
    engine = engine_for(model)
    objective = ranked_objective(
        sharpness=1.0, preference_weight=1.0, pairwise_weight=0.5, reduction="mean"
    )

    def with_own_prompts() -> None:
        for batch in batches_of(model, step, PRECISION):
            policy = logprobs(model, list(chain.from_iterable(batch)), share=False)
            engine.backward(objective(policy, batch, step)[0])
        engine.step()

    def shared() -> None:
        backward(engine, step, objective, PRECISION)
        engine.step()

    check_equal(model, step)
    ours, other = alternate(shared, with_own_prompts, arguments.steps)
    return ours, other, num_trained(step)


def check_equal(model: PreTrainedModel, step: Step) -> None:
    """Refuse to compare ways that don't compute the same."""
    with torch.no_grad():
        for batch in batches_of(model, step, PRECISION):
            fast, slow = (
                logprobs(model, list(chain.from_iterable(batch)), share=share).logprobs_BT
                for share in (True, False)
            )
            torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-4)


def alternate(ours: Callable[[], None], other: Callable[[], None], count: int) -> list[float]:
    """Return the median seconds of each, run in turns."""
    seconds: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(count):
        for side, function in enumerate((ours, other)):
            started = now()
            function()
            seconds[side].append(now() - started)
    return [median(found[WARM_UP:]) for found in seconds.values()]


def engine_for(model: PreTrainedModel) -> PlainEngine:
    """Return an engine with the settings of both sides."""
    return PlainEngine(model, learning_rate=1e-3, total_steps=1000, weight_decay=0.0)


if __name__ == "__main__":
    main()
