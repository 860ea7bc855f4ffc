"""What both sides of `solve_beside_trl.py` have in common: tasks, verifier, settings."""

from __future__ import annotations

from statistics import fmean

import torch

from atlas.data.tasks import mixed_tasks
from atlas.environments.loading import load_student
from atlas.models.packaged import unpacked
from atlas.prompts.folder import shipped_prompts
from atlas.rewards.verifiers import verified
from atlas.types import Task

FAMILIES = ("boxes", "pages", "cents", "rows")
PROMPT_SET, FORMAT = "small", "last_number"
PROMPTS, GROUP, NEW_TOKENS = 4, 8, 24
TEMPERATURE, LEARNING_RATE, LORA_R, LORA_ALPHA = 0.8, 2e-4, 16, 32
_HELD_OUT = 100


def model() -> str:
    """Return the folder of the model that is trained."""
    return unpacked("smollm2")


def train_tasks(steps: int, seed: int) -> list[Task]:
    """Return as many as the steps take, each once."""
    return mixed_tasks(FAMILIES, steps * PROMPTS, seed=seed, split="train")


def held_out_share(folder: str) -> float:
    """Return the share of right greedy answers on the held-out tasks."""
    tasks = mixed_tasks(FAMILIES, _HELD_OUT, seed=0, split="held_out")
    student = load_student(
        folder,
        max_new_tokens=NEW_TOKENS,
        approach_tokens=1,
        prompts=shipped_prompts(PROMPT_SET),
        answer_format=FORMAT,
    )
    with torch.inference_mode():
        said = student.attempt(tasks, [None] * len(tasks))
    return fmean(float(one.correct) for one in verified(tasks, said, FORMAT))
