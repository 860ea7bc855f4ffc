"""Where a model is loaded to, and what can't be shared out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from atlas.config.grpo import GRPOConfig, computes_whole
from atlas.config.sft import SFTConfig
from atlas.errors import AtlasError
from atlas.parallel.engine import choice
from atlas.parallel.engine.choice import loading_device

GPU = torch.device("cuda", 1)


def config(**settings: Any) -> SFTConfig:
    return SFTConfig(model_name_or_path="m", output_dir="out", **settings)


def zero(folder: Path, stage: int) -> str:
    path = folder / f"zero{stage}.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": stage}}))
    return str(path)


@pytest.fixture(autouse=True)
def _on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "training_device", lambda: GPU)


def test_what_is_shared_out_is_loaded_into_cpu_memory(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    assert loading_device(config(), 1) == GPU
    assert loading_device(config(engine="ddp"), 2) == GPU
    assert loading_device(config(engine="fsdp"), 2) == cpu
    # Who gets shares from the first process reads no weights, but for what it samples from.
    assert loading_device(config(engine="fsdp"), 2, main=False) == torch.device("meta")
    assert loading_device(config(engine="fsdp"), 2, main=False, whole=True) == cpu
    assert loading_device(config(engine="fsdp", use_peft=True), 2, main=False) == cpu
    assert loading_device(config(deepspeed=zero(tmp_path, 3)), 2, main=False) == cpu
    assert loading_device(config(deepspeed=zero(tmp_path, 2)), 2) == GPU
    assert loading_device(config(deepspeed=zero(tmp_path, 3)), 2) == cpu
    assert loading_device(config(offload=True), 1) == cpu
    flash = config(engine="fsdp", attn_implementation="flash_attention_2")
    assert loading_device(flash, 2) == GPU


@pytest.mark.parametrize("name", ["torch_compile", "load_in_4bit"])
def test_what_cannot_be_shared_out_is_refused(name: str) -> None:
    settings = {name: True, "use_peft": True}
    with pytest.raises(AtlasError, match=f"{name}=true and an engine that shares weights out"):
        loading_device(config(engine="fsdp", **settings), 2)
    assert loading_device(config(engine="ddp", **settings), 2) == GPU


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, True),
        ({"rollout_engine": "vllm"}, False),
        ({"rollout_engine": "vllm", "use_peft": True}, True),
        ({"rollout_engine": "vllm", "use_peft": True, "beta": 0.0}, False),
    ],
)
def test_a_policy_is_whole_where_it_samples_or_is_its_own_reference(
    settings: dict[str, Any], expected: bool
) -> None:
    grpo = GRPOConfig(model_name_or_path="m", student_model="m", output_dir="out", **settings)
    assert computes_whole(grpo) is expected
