from __future__ import annotations

import pytest
from transformers import LlamaForCausalLM

from atlas.errors import AtlasError
from atlas.small_lm.sizes import SIZES, Size, llama_config


def num_parameters(size: Size, vocab_size: int) -> int:
    """Embedding (tied), per layer four square projections, a gated MLP and two norms, one norm."""
    d, m = size.hidden, size.intermediate
    return vocab_size * d + size.layers * (4 * d * d + 3 * d * m + 2 * d) + d


@pytest.mark.parametrize("name", SIZES)
def test_the_parameters_are_those_of_the_formula(name: str) -> None:
    config = llama_config(name, vocab_size=480, eos_token_id=1, pad_token_id=0)
    model = LlamaForCausalLM(config)
    assert sum(p.numel() for p in model.parameters()) == num_parameters(SIZES[name], 480)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert (config.eos_token_id, config.pad_token_id, config.bos_token_id) == (1, 0, None)


def test_nano_is_nano() -> None:
    """480 * 128 + 4 * (4 * 128 * 128 + 3 * 128 * 384 + 2 * 128) + 128, tied embedding once."""
    assert num_parameters(SIZES["nano"], 480) == 914_560


@pytest.mark.parametrize(
    ("name", "hint"), [("nanno", "did you mean 'nano'?"), ("7B", "known: nano, micro")]
)
def test_an_unknown_size_is_refused(name: str, hint: str) -> None:
    with pytest.raises(AtlasError) as caught:
        llama_config(name, vocab_size=480, eos_token_id=1, pad_token_id=0)
    assert str(caught.value) == f"model size '{name}' does not exist; {hint}"
