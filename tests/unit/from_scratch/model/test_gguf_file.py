from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from tests.unit.tiny_models import tiny_config
from transformers import AutoConfig

from atlas.errors import AtlasError
from atlas.from_scratch.model.gguf_file import gguf_name, interleaved, write_gguf
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


def test_the_file_says_shape_tokens_and_kinds(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a b ab"] * 3, vocab_size=270)
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
    assert value("llama.rope.freq_base") == 10_000.0
    assert value("tokenizer.ggml.eos_token_id") == tokenizer.eos_token_id
    tokens, kinds = value("tokenizer.ggml.tokens"), value("tokenizer.ggml.token_type")
    assert isinstance(tokens, list)
    assert isinstance(kinds, list)
    assert len(tokens) == len(kinds) == len(tokenizer) + 2
    assert kinds[tokenizer.eos_token_id] == gguf.TokenType.CONTROL
    assert kinds[-1] == gguf.TokenType.UNUSED
    assert tokens[-1] == f"[PAD{len(tokenizer) + 1}]"
    assert [tensor.name for tensor in reader.tensors] == ["output_norm.weight"]
