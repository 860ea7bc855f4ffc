"""Weights of four bits: what they need, and what the library is told where that is there."""

from __future__ import annotations

import pytest
import torch

from atlas.errors import AtlasError
from atlas.models import four_bits


@pytest.mark.parametrize(
    ("gpu", "package", "lacking"),
    [
        (False, False, "a CUDA GPU and the package bitsandbytes, which"),
        (False, True, "a CUDA GPU, which"),
        (True, False, "the package bitsandbytes, which"),
    ],
)
def test_what_the_machine_lacks_is_named(
    gpu: bool, package: bool, lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(four_bits, "find_spec", lambda _: package or None)
    with pytest.raises(AtlasError, match=f"^load_in_4bit=true needs {lacking}.*leave it out"):
        four_bits.four_bits(torch.bfloat16)


def test_with_both_it_is_nf4_quantised_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(four_bits, "find_spec", lambda _: True)
    found = four_bits.four_bits(torch.bfloat16)
    assert found.load_in_4bit
    assert found.bnb_4bit_quant_type == "nf4"
    assert found.bnb_4bit_use_double_quant
    assert found.bnb_4bit_compute_dtype == torch.bfloat16
