"""The layers that vLLM is told to make room for adapters in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.tiny_models import tiny_model
from transformers import GPT2Config, PreTrainedConfig, Qwen3Config

from atlas.serve.adapters import linear_layers, room_for_adapters
from atlas.serve.interpreter import Interpreter
from atlas.serve.settings import ServerSettings, server_command

GATED = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
GPU = Interpreter(python=Path("/vllm/python"), version="0.32.0", cpu=False)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Qwen3Config(num_hidden_layers=1, tie_word_embeddings=False), GATED),
        (GPT2Config(n_layer=1), ("c_attn", "c_fc", "c_proj")),
    ],
    ids=["qwen3", "gpt2"],
)
def test_every_linear_layer_but_the_head(
    config: PreTrainedConfig, expected: tuple[str, ...]
) -> None:
    assert linear_layers(config.to_dict()) == expected


def test_an_unknown_architecture_names_none() -> None:
    assert linear_layers({"model_type": "of next year"}) == ()


def test_a_server_of_adapters_is_told_and_another_is_not(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "llama"
    plain = ServerSettings(model=str(tmp_path))
    assert room_for_adapters(plain) == plain
    settings = room_for_adapters(ServerSettings(model=str(tmp_path), lora_rank=4))
    command = server_command(settings, GPU, {})
    first = command.index("--lora-target-modules") + 1
    assert tuple(command[first : first + len(GATED)]) == GATED
    assert "--lora-target-modules" not in server_command(plain, GPU, {})
