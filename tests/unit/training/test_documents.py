"""Packed rows through models: each example comes out as if it were alone, exactly."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.unit.tiny_models import KINDS, tiny_model
from torch import Tensor
from transformers import MambaConfig, MambaForCausalLM, PreTrainedModel

from atlas.data.chat import Example
from atlas.data.packing import join, pack, positions
from atlas.errors import AtlasError
from atlas.objectives.cross_entropy import cross_entropy
from atlas.training.documents import check_keeps_apart, hidden_states
from atlas.training.supervised import example_logprobs

EXAMPLES = [
    Example(ids=(5, 6, 7, 8, 1), prompt_length=2),
    Example(ids=(9, 10, 11, 1), prompt_length=3),
    Example(ids=(12, 13, 14, 15, 16, 17, 18, 19, 1), prompt_length=1, read=((3, 5),)),
    Example(ids=(20, 21, 1), prompt_length=1),
]
ROWS = pack(EXAMPLES, 12)


def loss_and_gradients(
    model: PreTrainedModel, rows: list[Example]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Train on rows as the loop does, in one micro-batch."""
    model = copy.deepcopy(model)
    logprobs_N = example_logprobs(model, rows, pad_id=0)
    loss = cross_entropy(
        logprobs_N, torch.ones_like(logprobs_N).bool(), sum(row.num_trained for row in rows)
    )
    loss.backward()
    return loss.detach(), {
        name: p.grad for name, p in model.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_and_unpacked_have_equal_loss_and_gradients(kind: str, attention: str) -> None:
    assert [len(row.starts) for row in ROWS] == [1, 1]
    model = tiny_model(kind, torch.float64)
    model.set_attn_implementation(attention)
    loss, gradients = loss_and_gradients(model, EXAMPLES)
    packed_loss, packed_gradients = loss_and_gradients(model, ROWS)
    atol = 1e-6 if kind == "gemma3" else 1e-12  # its norms compute in float32
    torch.testing.assert_close(packed_loss, loss, rtol=1e-12, atol=atol)
    assert packed_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(packed_gradients[name], gradient, rtol=1e-9, atol=atol)


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_does_not_see_the_one_before_it(kind: str) -> None:
    """To the bit: whatever stands before it in the row."""
    model = tiny_model(kind)
    after = []
    for first in (EXAMPLES[0], Example(ids=(30, 31, 32, 33, 34), prompt_length=2)):
        row = join([first, EXAMPLES[2]])
        ids_1T = torch.tensor([row.ids])
        after.append(hidden_states(model, ids_1T, positions([row]))[:, 5:])
    assert torch.equal(*after)
    check_keeps_apart(model)


def test_checkpointed_layers_keep_examples_apart_too() -> None:
    model = tiny_model("llama", torch.float64)
    _, gradients = loss_and_gradients(model, ROWS)
    model.activation_checkpointing_enable()
    for name, gradient in loss_and_gradients(model, ROWS)[1].items():
        torch.testing.assert_close(gradient, gradients[name], rtol=1e-12, atol=1e-14)


def test_a_model_with_a_state_is_refused() -> None:
    torch.manual_seed(0)
    model = MambaForCausalLM(
        MambaConfig(vocab_size=40, hidden_size=16, state_size=4, num_hidden_layers=1)
    )
    with pytest.raises(AtlasError, match=r"packing=true can't be used with MambaForCausalLM: an"):
        check_keeps_apart(model)
