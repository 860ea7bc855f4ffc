from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from tests.unit.tiny_models import tiny_config
from transformers import AutoConfig

from atlas.errors import AtlasError
from atlas.from_scratch.model.gguf_file import gguf_name, interleaved, split_of, write_gguf
from atlas.from_scratch.model.tokenizer import train_tokenizer


def test_halves_of_a_head_become_neighbours() -> None:
    """Two heads of four rows: 0 1 | 2 3 turns into 0 2 1 3."""
    weight = np.arange(16).reshape(8, 2)
    order = interleaved(weight, 2)[:, 0] // 2
    assert order.tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_a_tensor_that_no_llama_has_is_refused() -> None:
    with pytest.raises(AtlasError, match=r"no place for the tensor model\.layers\.0"):
        gguf_name("model.layers.0.self_attn.q_proj.bias")


def test_other_models_are_refused(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a b"], vocab_size=300)
    with pytest.raises(AtlasError, match="the model is a qwen3; only llama"):
        write_gguf(tmp_path / "x.gguf", tiny_config("qwen3"), {}, tokenizer)
    assert not (tmp_path / "x.gguf").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 4.0}}, "rope_type = dynamic"),
        ({"hidden_act": "gelu"}, "hidden_act = gelu"),
        ({"attention_bias": True}, "attention_bias = True"),
        ({"mlp_bias": True}, "mlp_bias = True"),
        ({"head_dim": 16}, "head_dim = 16"),
    ],
)
def test_other_llamas_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    if "rope_parameters" in change:
        change["rope_parameters"]["rope_theta"] = 10_000.0
    config = tiny_config("llama", **change)
    with pytest.raises(AtlasError, match=f"the model has {said} in config.json, and GGUF as"):
        write_gguf(tmp_path / "x.gguf", config, {}, train_tokenizer(["a b"], vocab_size=300))
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_without_an_end_is_refused(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a b"], vocab_size=300)
    tokenizer.eos_token = None
    with pytest.raises(AtlasError, match="names no eos_token"):
        write_gguf(tmp_path / "x.gguf", tiny_config("llama"), {}, tokenizer)


def test_the_file_says_shape_tokens_and_kinds(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a b ab"] * 3, vocab_size=270)
    tokenizer.add_tokens(["<think>"])
    config = tiny_config("llama", vocab_size=len(tokenizer) + 2)
    assert isinstance(config, type(AutoConfig.for_model("llama")))
    norm = np.ones(32, dtype=np.float32)
    write_gguf(tmp_path / "x.gguf", config, {"model.norm.weight": ("float32", norm)}, tokenizer)
    reader = gguf.GGUFReader(tmp_path / "x.gguf")

    def value(name: str) -> object:
        field = reader.get_field(name)
        assert field is not None, name
        return field.contents()

    assert value("llama.attention.head_count_kv") == 2
    assert value("tokenizer.ggml.pre") == split_of(tmp_path / "x.gguf") == "poro-chat"
    assert value("llama.rope.freq_base") == 10_000.0
    assert value("tokenizer.ggml.eos_token_id") == tokenizer.eos_token_id
    tokens, kinds = value("tokenizer.ggml.tokens"), value("tokenizer.ggml.token_type")
    assert isinstance(tokens, list)
    assert isinstance(kinds, list)
    assert len(tokens) == len(kinds) == len(tokenizer) + 2
    assert kinds[tokenizer.eos_token_id] == gguf.TokenType.CONTROL
    assert kinds[len(tokenizer) - 1] == gguf.TokenType.USER_DEFINED
    assert kinds[-1] == gguf.TokenType.UNUSED
    assert tokens[-1] == f"[PAD{len(tokenizer) + 1}]"
    assert [tensor.name for tensor in reader.tensors] == ["output_norm.weight"]
