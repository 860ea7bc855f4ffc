"""TRL's side of `solve_beside_trl.py`: `GRPOTrainer` with the settings of the other side."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from atlas.prompts.folder import shipped_prompts
from atlas.rewards.verifiers import verified
from atlas.types import Attempt
from sides import solving


def run(folder: Path, steps: int, seed: int) -> Mapping[str, Any]:
    """Train, and return what is compared."""

    ends = [time.perf_counter()]
    right: list[float] = []
    model, tasks = solving.model(), solving.train_tasks(steps, seed)
    by_place = dict(enumerate(tasks))

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    def reward(completions: Any, place: Sequence[int], **_: Any) -> list[float]:
        texts = [message[0]["content"].strip() for message in completions]
        said = [Attempt(text=text, num_tokens=1, truncated=False) for text in texts]
        found = verified([by_place[one] for one in place], said, solving.FORMAT)
        scores = [one.verdict.score or 0.0 for one in found]
        right.append(fmean(float(one.correct) for one in found))
        return scores

    rows = [{"prompt": _messages(task), "place": place} for place, task in by_place.items()]
    trainer = GRPOTrainer(
        model,
        reward,
        args=GRPOConfig(
            output_dir=str(folder),
            model_init_kwargs={"dtype": "float32"},
            bf16=False,
            use_cpu=True,
            seed=seed,
            max_steps=steps,
            per_device_train_batch_size=solving.PROMPTS * solving.GROUP,
            num_generations=solving.GROUP,
            max_completion_length=solving.NEW_TOKENS,
            temperature=solving.TEMPERATURE,
            top_p=1.0,
            top_k=0,
            learning_rate=solving.LEARNING_RATE,
            lr_scheduler_type="constant",
            beta=0.0,
            loss_type="dapo",
            gradient_checkpointing=False,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(model),
        peft_config=_adapter(),
        callbacks=[Clock()],
    )
    ends[0] = time.perf_counter()
    trainer.train()
    merged: Any = trainer.model
    final = folder / "merged"
    merged.merge_and_unload().save_pretrained(final)
    AutoTokenizer.from_pretrained(model).save_pretrained(final)
    return {
        "right": right,
        "seconds": [end - start for start, end in pairwise(ends)],
        "before": solving.held_out_share(model),
        "after": solving.held_out_share(str(final)),
    }


def _adapter() -> LoraConfig:
    return LoraConfig(
        r=solving.LORA_R,
        lora_alpha=solving.LORA_ALPHA,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _messages(task: Any) -> list[dict[str, str]]:
    said = shipped_prompts(solving.PROMPT_SET).render("baseline", task=task.question)
    return [dict(message) for message in said]
