from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM

from atlas.errors import AtlasError
from atlas.from_scratch.model.sizes import SIZES, llama_config, num_parameters


@pytest.mark.parametrize("name", SIZES)
def test_the_parameters_are_those_of_the_formula(name: str) -> None:
    """On the meta device: nothing is allocated, not even for the largest."""
    config = llama_config(name, vocab_size=480, eos_token_id=1, pad_token_id=0)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    assert model.num_parameters() == num_parameters(SIZES[name], 480)
    assert model.config.tie_word_embeddings
    assert (config.eos_token_id, config.pad_token_id, config.bos_token_id) == (1, 0, None)


def test_the_guide_s_size_has_the_guide_s_number_of_parameters() -> None:
    size = SIZES["1.1B"]
    config = llama_config(
        "1.1B", vocab_size=size.vocab + size.reserved, eos_token_id=1, pad_token_id=0
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    assert model.num_parameters() == num_parameters(size) == 1_102_345_728


def test_nano_is_nano() -> None:
    """480 * 128 + 4 * (4 * 128 * 128 + 3 * 128 * 384 + 2 * 128) + 128, tied embedding once."""
    assert num_parameters(SIZES["nano"], 480) == 914_560


@pytest.mark.parametrize(
    ("name", "hint"),
    [("nanno", "did you mean 'nano'?"), ("7B", "known: nano, micro, small, 125M, 350M, 1.1B")],
)
def test_an_unknown_size_is_refused(name: str, hint: str) -> None:
    with pytest.raises(AtlasError) as caught:
        llama_config(name, vocab_size=480, eos_token_id=1, pad_token_id=0)
    assert str(caught.value) == f"model size '{name}' does not exist; {hint}"
