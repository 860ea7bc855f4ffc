"""Who shares prompts and who doesn't, and that it is said once."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from tests.unit.tiny_models import PAD, VOCAB, rows_of, tiny_model
from transformers import AutoModelForCausalLM, BloomConfig, Gemma2Config, MambaConfig

from atlas.models.passes.forward import logprobs
from atlas.models.passes.shared_prefix import pack, shares_prefixes, siblings
from atlas.types import Tokens

ROWS = rows_of([[5, 6, 7], [8]], [[20, 21, 1], [22], [23, 24, 25, 1], [27, 28]])


def odd_model(kind: str) -> Any:
    """A model for each reason not to share prompts."""
    torch.manual_seed(0)
    small: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2}
    configs = {
        "its attention can't be replaced": lambda: BloomConfig(**small, n_head=2),
        "it keeps a state": lambda: MambaConfig(**small, state_size=4),
        "its attention asks for softcap": lambda: Gemma2Config(
            **small,
            intermediate_size=16,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            pad_token_id=PAD,
            attn_implementation="eager",
        ),
    }
    return AutoModelForCausalLM.from_config(configs[kind]()).eval()


@pytest.mark.parametrize(
    "reason",
    ["its attention can't be replaced", "it keeps a state", "its attention asks for softcap"],
)
def test_others_are_computed_plainly_and_one_line_says_so(
    reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = odd_model(reason)
    with caplog.at_level(logging.WARNING, logger="atlas"), torch.no_grad():
        found = [logprobs(model, ROWS).logprobs_BT for _ in range(3)]
        wanted = logprobs(model, ROWS, share=False).logprobs_BT
    assert not shares_prefixes(model)
    assert torch.equal(found[0], wanted)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("atlas")]
    assert len(lines) == 1
    assert f"{type(model).__name__} is trained with each prompt" in lines[0]
    assert reason in lines[0]


def test_a_model_that_turns_out_different_is_found_out(caplog: pytest.LogCaptureFixture) -> None:
    """A layer that looks at its neighbour in the row mixes completions that have nothing to do."""
    model: Any = tiny_model()
    mlp = model.model.layers[0].mlp
    mlp.register_forward_hook(lambda _module, _inputs, output: output + output.roll(1, dims=1))
    assert not shares_prefixes(model)
    assert "hidden states would differ by" in caplog.text


def test_a_window_that_the_layers_do_not_ask_for_is_found_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On a few tokens no window binds, so that nothing else would tell."""
    model: Any = tiny_model("mistral")
    model.config.sliding_window = 64
    shared: Any = tiny_model("llama")
    shared.config.sliding_window = 64
    assert shares_prefixes(model)
    assert not shares_prefixes(shared)
    assert "windows of its attention" in caplog.text


def test_the_row_holds_real_tokens_only() -> None:
    packed = pack(ROWS, torch.device("cpu"))
    assert packed.ids_1N.tolist() == [[5, 6, 7, 8, 20, 21, 23, 24, 25, 27]]
    assert packed.positions_1N.tolist() == [[0, 1, 2, 0, 3, 4, 1, 2, 3, 1]]
    # The last token of the prefix, then the completion's own, for each completion in turn.
    assert packed.before_M.tolist() == [*(2, 4, 5), 2, *(3, 6, 7, 8), *(3, 9)]


def test_the_check_leaves_training_modes_as_they_were() -> None:
    model: Any = tiny_model()
    model.model.layers[0].train()
    before = [module.training for module in model.modules()]
    assert shares_prefixes(model)
    assert [module.training for module in model.modules()] == before


def test_what_is_read_within_a_row_predicts_and_is_not_predicted() -> None:
    """5 6 | #20 21 #22 and 5 6 | #23: the row is 5 6 20 21."""
    rows = [
        Tokens(ids=(5, 6, 20, 21, 22), trained=((2, 3), (4, 5)), prefix=2),
        Tokens.of((5, 6), (23,)),
    ]
    packed = pack(rows, torch.device("cpu"))
    assert packed.ids_1N.tolist() == [[5, 6, 20, 21]]
    assert packed.before_M.tolist() == [1, 3, 1]


def test_siblings_are_neighbours_with_the_same_prefix() -> None:
    groups = siblings([*ROWS, ROWS[0], Tokens.of((5, 6), (7, 20))])
    assert [len(group) for group in groups] == [2, 2, 1, 1]
