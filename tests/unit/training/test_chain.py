"""The chain: whatever differs in a run, it tells; where things lie is no difference."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from atlas.config.sft import SFTConfig
from atlas.training.chain import Chain, digest, fingerprint
from atlas.types import Tokens


def config(**changes: object) -> SFTConfig:
    return SFTConfig(**{"model_name_or_path": "base", "output_dir": "run"} | changes)


def head(**changes: object) -> str:
    return Chain(None, config(**changes), lambda: "weights").head


def test_settings_are_in_it_and_places_are_not() -> None:
    assert head() == head(output_dir="elsewhere", logging_steps=5, save_steps=3, results_dir=None)
    assert head() != head(learning_rate=1e-3)
    assert head() != head(seed=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_any_bit_of_any_weight_changes_the_fingerprint(dtype: torch.dtype) -> None:
    model = nn.Linear(7, 3, dtype=dtype)  # rows that don't fill eight bytes
    before = fingerprint(model)
    assert fingerprint(copy.deepcopy(model)) == before
    for parameter in model.parameters():
        for place in range(parameter.numel()):
            other = copy.deepcopy(model)
            changed = next(p for p in other.parameters() if p.shape == parameter.shape)
            changed.data.view(-1).view(torch.uint8)[place * dtype.itemsize] ^= 1
            assert fingerprint(other) != before


def test_what_isn_t_trained_isn_t_in_it() -> None:
    model = nn.Linear(2, 2).requires_grad_(False)
    before = fingerprint(model)
    model.weight.data += 1
    assert fingerprint(model) == before


@pytest.mark.parametrize("change", [{"ids": (1, 2, 4)}, {"trained": ((1, 2),)}, {"advantage": 0.5}])
def test_all_that_a_step_learns_from_is_in_its_digest(change: dict[str, object]) -> None:
    row = Tokens(ids=(1, 2, 3), trained=((1, 3),))
    values = {"ids": row.ids, "trained": row.trained, "advantage": row.advantage} | change
    assert digest([Tokens(**values)]) != digest([row])
    assert digest([row, row]) != digest([row])
