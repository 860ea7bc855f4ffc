"""Our side of `solve_beside_trl.py`: the stage of GRPO with ``environment=solve``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlas.config.grpo import GRPOConfig
from atlas.config.resolve import resolve
from atlas.run.progress import Silent
from atlas.run.run_dir import RunDir
from atlas.run.stopping import StopRequest
from atlas.training.grpo import train_grpo
from sides import solving


def run(folder: Path, steps: int, seed: int) -> Mapping[str, Any]:
    """Train, and return what is compared."""
    model = solving.model()
    config = resolve(
        GRPOConfig(
            model_name_or_path=model,
            environment="solve",
            output_dir=str(folder),
            prompts=solving.PROMPT_SET,
            answer_format=solving.FORMAT,
            seed=seed,
            max_steps=steps,
            per_device_train_batch_size=solving.PROMPTS,
            gradient_accumulation_steps=1,
            num_generations=solving.GROUP,
            max_new_tokens=solving.NEW_TOKENS,
            temperature=solving.TEMPERATURE,
            top_p=1.0,
            learning_rate=solving.LEARNING_RATE,
            lr_scheduler_type="constant",
            warmup_ratio=0.0,
            beta=0.0,
            loss_type="dapo",
            use_peft=True,
            lora_r=solving.LORA_R,
            lora_alpha=solving.LORA_ALPHA,
            mask_truncated_completions=False,
            canary_tasks=0,
            length_probe_samples=0,
            save_steps=0,
        )
    )
    run = RunDir.create(folder / "run", kind="grpo")
    train_grpo(run, config, solving.train_tasks(steps, seed), progress=Silent(), stop=StopRequest())
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    rows = [line for line in lines if "train/accuracy" in line]
    return {
        "right": [row["train/accuracy"] for row in rows],
        "seconds": [row["time/rollout"] + row["time/update"] for row in rows],
        "before": solving.held_out_share(model),
        "after": solving.held_out_share(str(run.final)),
    }
