"""A copy of a module elsewhere."""

from __future__ import annotations

import torch
from torch import nn

from atlas.machine.copying import copied


def tied() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    model[0].bias.requires_grad_(False)
    return model


def test_a_copy_is_rounded_and_the_model_stays() -> None:
    model = tied()
    before = model[0].weight.detach().clone()
    made = copied(model, device="cpu", dtype=torch.bfloat16)
    assert torch.equal(made[0].weight, before.bfloat16())
    assert model[0].weight.dtype == torch.float32
    assert torch.equal(model[0].weight, before)


def test_a_shell_has_no_weights_and_what_was_tied_or_frozen_stays_so() -> None:
    shell = copied(tied(), device="meta")
    assert all(p.is_meta for p in shell.parameters())
    assert shell[1].weight is shell[0].weight
    assert [p.requires_grad for p in shell[0].parameters()] == [True, False]
