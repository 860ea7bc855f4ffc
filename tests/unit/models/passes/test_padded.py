"""Packed rows through models: each example comes out as if it were alone, exactly."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.unit.tiny_models import KINDS, tiny_model
from torch import Tensor
from transformers import MambaConfig, MambaForCausalLM, PreTrainedModel

from atlas.errors import AtlasError
from atlas.models.passes.forward import logprobs
from atlas.models.passes.padded import (
    check_keeps_apart,
    join,
    padded_hidden,
    positions,
    trained_mask,
)
from atlas.objectives.cross_entropy import cross_entropy
from atlas.types import Tokens

CPU = torch.device("cpu")
EXAMPLES = [
    Tokens(ids=(5, 6, 7, 8, 1), trained=((2, 5),)),
    Tokens(ids=(9, 10, 11, 1), trained=((3, 4),)),
    Tokens(ids=(12, 13, 14, 15, 16, 17, 18, 19, 1), trained=((1, 3), (5, 9))),
    Tokens(ids=(20, 21, 1), trained=((1, 3),)),
]
ROWS = [join([EXAMPLES[2], EXAMPLES[3]]), join(EXAMPLES[:2])]


def test_what_is_learned_of_padded_rows() -> None:
    """Padding on the right, ``.``; # is in the loss, a learned token with the padding's id too:

    5 6 #7 #0 #2        5 #8 . . .        and after a prefix of two: #7 9 #0
    """
    rows = [Tokens.of((5, 6), (7, 0, 2)), Tokens.of((5,), (8,))]
    alone = [Tokens(ids=row.ids, trained=row.trained) for row in rows]
    assert trained_mask(alone, CPU).int().tolist() == [[0, 0, 1, 1, 1], [0, 1, 0, 0, 0]]
    turns = Tokens(ids=(5, 6, 7, 9, 0), trained=((2, 3), (4, 5)), prefix=2)
    assert trained_mask([turns], CPU).int().tolist() == [[1, 0, 1]]


def test_a_row_is_learned_as_its_sequences_are() -> None:
    """Three sequences, the second one with a turn that is read between two that are learned:

    ids         10 11 12 | 20 21 22 23 24 | 30 31
    in the loss  -  -  # |  -  #  -  -  # |  -  #
    positions    0  1  2 |  0  1  2  3  4 |  0  1
    """
    row = join(
        [
            Tokens(ids=(10, 11, 12), trained=((2, 3),), source="10"),
            Tokens(ids=(20, 21, 22, 23, 24), trained=((1, 2), (4, 5)), source="20"),
            Tokens(ids=(30, 31), trained=((1, 2),), source="30"),
        ]
    )
    assert row.ids == (10, 11, 12, 20, 21, 22, 23, 24, 30, 31)
    assert trained_mask([row], CPU).int().tolist() == [[0, 0, 1, 0, 1, 0, 0, 1, 0, 1]]
    places_BN = positions([row, Tokens(ids=(7,) * 11, trained=())], CPU)
    assert places_BN is not None
    assert places_BN.tolist() == [[0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2], list(range(11))]
    assert (row.num_trained, row.starts, row.source) == (4, (3, 8), "10,20,30")


def test_rows_of_one_sequence_have_no_positions() -> None:
    assert positions(EXAMPLES, CPU) is None


def loss_and_gradients(
    model: PreTrainedModel, rows: list[Tokens]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Train on rows as the loop does, in one micro-batch."""
    model = copy.deepcopy(model)
    found = logprobs(model, rows)
    loss = cross_entropy(found.logprobs_BT, found.mask_BT, sum(row.num_trained for row in rows))
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
    for first in (EXAMPLES[0], Tokens(ids=(30, 31, 32, 33, 34), trained=((2, 5),))):
        after.append(padded_hidden(model, [join([first, EXAMPLES[2]])], CPU)[3:])
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
