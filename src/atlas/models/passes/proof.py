"""Proof on a few tokens that a fast way gives what the slow one gives, before anything is trained.

Input: what both ways made. Output: how far they are apart, where that is more than rounding. How
much rounding may do is said here once, for all that is proven so: shared prompts, packed rows,
compiled layers, projections in chunks, decoding from the weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from atlas.machine.precision import computing
from atlas.types import Tokens

# A float64 model's norms and rotations compute in float32.
_TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-3}
_TOLERANCE_BELOW = 5e-2
"""Largest difference relative to the size of what is compared; the second in half precision, and
where products of float32 are rounded to TF32."""


def disagreement(found: Tensor, expected: Tensor, dtype: torch.dtype | None = None) -> float | None:
    """Return how far two tensors are apart, relative to their size; None where it is rounding.

    Args:
        found: What the fast way made.
        expected: What the slow one made.
        dtype: Of what they were computed in; None: that of ``expected``, or autocast's where this
            is called under it, since norms give float32 there.
    """
    device = expected.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    dtype = dtype or expected.dtype
    rounded = dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest"
    tolerance = _TOLERANCE_BELOW if rounded else _TOLERANCES.get(dtype, _TOLERANCE_BELOW)
    size = expected.float().norm().clamp(min=1e-12)
    difference = float((found - expected).float().norm() / size)
    return None if difference <= tolerance else difference


@contextlib.contextmanager
def proving(model: PreTrainedModel) -> Iterator[None]:
    """Compute as a training does, without dropout; in float32 where the model can.

    A difference shows best in float32, which flash attention has no kernel for: a model of float32
    weights runs with it under autocast only.
    """
    flash = model.config._attn_implementation == "flash_attention_2"
    with evaluating(model), computing(model.device, flash and model.dtype == torch.float32):
        yield


def few_ids(model: PreTrainedModel, count: int) -> list[int]:
    """Return some ids from all over a model's vocabulary."""
    embeddings: Any = model.get_input_embeddings()
    return [(13 * i + 5) % int(embeddings.weight.shape[0]) for i in range(count)]


def few_rows(model: PreTrainedModel) -> list[Tokens]:
    """Return rows of uneven lengths in two groups of siblings."""
    ids = few_ids(model, 13)
    one, other = ids[:3], ids[3:5]
    pairs = [(one, ids[5:8]), (one, ids[8:9]), (other, ids[9:12]), (other, ids[12:])]
    return [Tokens.of(prompt, completion) for prompt, completion in pairs]


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout off, module by module: some may be in training mode and others not."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
