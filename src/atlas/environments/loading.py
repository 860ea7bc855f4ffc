"""Teachers and students, loaded from folders onto the device that this process computes on."""

from __future__ import annotations

from atlas.environments.teaching.dialogue import Student, Teacher
from atlas.machine.precision import training_device
from atlas.models.checkpoints import load_model, load_tokenizer
from atlas.rollouts.generator import Sampling
from atlas.rollouts.local.engine import LocalGenerator


def load_student(folder: str, *, max_new_tokens: int, approach_tokens: int) -> Student:
    """Load a student, which answers greedily.

    Args:
        folder: Model folder, hub id or name of a shipped model.
        max_new_tokens: Longest answer, in tokens.
        approach_tokens: Longest statement of its approach, in tokens.

    Raises:
        AtlasError: It can't be loaded.
    """
    tokenizer = load_tokenizer(folder)
    model = load_model(folder, device=training_device())
    return Student(
        LocalGenerator(model, tokenizer),
        tokenizer,
        Sampling(max_new_tokens=max_new_tokens),
        approach_tokens=approach_tokens,
    )


def load_teacher(folder: str, sampling: Sampling) -> Teacher:
    """Load a teacher.

    Args:
        folder: Model folder, hub id or name of a shipped model.
        sampling: Of its teachings.

    Raises:
        AtlasError: It can't be loaded.
    """
    tokenizer = load_tokenizer(folder)
    model = load_model(folder, device=training_device())
    return Teacher(LocalGenerator(model, tokenizer), tokenizer, sampling)
