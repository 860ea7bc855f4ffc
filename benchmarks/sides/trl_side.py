"""TRL's step: `GRPOTrainer` at its best settings for a CPU.

One update a generation batch, so it never computes old log-probabilities; no gradient
checkpointing, no logging, no saving; weights in the precision of the workload, as on our side.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoConfig, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from sides import machine
from sides.models import make_prompts
from sides.workloads import BETA, LEARNING_RATE, Workload, reward


class _Clock(TrainerCallback):
    """When each optimiser step ended, the start first."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.times.append(machine.now())

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.times.append(machine.now())


def run(folder: Path, workload: Workload, *, steps: int, warmup: int) -> dict[str, Any]:
    """Return seconds of every step and of its generation, and the mean length of completions."""
    lengths: list[int] = []

    def reward_func(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
        lengths.extend(len(ids) for ids in completion_ids)
        return [reward(ids) for ids in completion_ids]

    total = steps + warmup
    vocab_size = AutoConfig.from_pretrained(folder).vocab_size
    prompts = make_prompts(workload.num_prompts * total, workload.prompt_length, vocab_size)
    texts = [" ".join(f"w{token}" for token in prompt) for prompt in prompts]
    clock = _Clock()
    trainer = GRPOTrainer(
        str(folder),
        reward_func,
        args=_settings(folder, workload, total),
        train_dataset=Dataset.from_dict({"prompt": texts}),
        processing_class=AutoTokenizer.from_pretrained(folder),
        callbacks=[clock],
    )
    generate_s: list[float] = []
    plain: Any = trainer._generate_single_turn

    def timed(*args: Any, **kwargs: Any) -> Any:
        started = machine.now()
        result = plain(*args, **kwargs)
        generate_s.append(machine.now() - started)
        return result

    trainer._generate_single_turn = timed
    trainer.train()
    steps_s = [end - start for start, end in zip(clock.times, clock.times[1:], strict=False)]
    return {
        "steps": steps_s[warmup:],
        "generate": generate_s[warmup:],
        "mean_length": sum(lengths) / len(lengths),
    }


def _settings(folder: Path, workload: Workload, total: int) -> GRPOConfig:
    return GRPOConfig(
        output_dir=str(folder / "trl"),
        model_init_kwargs={"dtype": {"f32": "float32", "bf16": "bfloat16"}[workload.dtype]},
        bf16=False,  # no autocast on top of bf16 weights
        use_cpu=True,
        max_steps=total,
        per_device_train_batch_size=workload.num_prompts * workload.group_size,
        num_generations=workload.group_size,
        max_completion_length=workload.max_new_tokens,
        temperature=1.0,
        beta=BETA,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        loss_type="dapo",
        gradient_checkpointing=False,
        shuffle_dataset=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
