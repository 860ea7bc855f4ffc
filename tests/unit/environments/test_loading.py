"""What is only sampled from computes as a training does on this machine."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from atlas.environments import loading
from atlas.environments.loading import load_actor, load_student
from atlas.machine import precision
from atlas.prompts.folder import shipped_prompts
from atlas.rollouts.generator import Sampling


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_teacher_and_student_are_loaded_as_a_training_computes(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "sampling_dtype", lambda: dtype)
    prompts = shipped_prompts("plain")
    teacher: Any = load_actor("base", Sampling(max_new_tokens=4), prompts=prompts).generator
    student: Any = load_student("base", max_new_tokens=4, approach_tokens=4, prompts=prompts)
    assert teacher.model.dtype == student.actor.generator.model.dtype == dtype


@pytest.mark.parametrize(("gpu", "fast"), [(True, True), (True, False), (False, True)])
def test_bfloat16_is_for_a_gpu_that_has_it(
    gpu: bool, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(precision, "computes_bf16", lambda: fast)
    wanted = torch.bfloat16 if gpu and fast else torch.float32
    assert precision.sampling_dtype() == wanted
