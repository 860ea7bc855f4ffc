"""Uniform random numbers that depend on what is sampled, not on what is sampled beside it.

Input: a seed, the place of a row (its prompt, its sample) and of a token. Output: a number in
[0, 1).

A number is a hash of its place (the finaliser of SplitMix64, Steele et al. 2014, fig. 14), so no
state goes from token to token. A completion is the same whichever rows share its batch, in
whatever order they are computed (up to rounding in the model itself).

Shapes: P prompts, G samples, B rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BITS = 64
_UNIFORM_BITS = 24  # a float32 holds no more


def _signed(value: int) -> int:
    """Return the low 64 bits as the signed integer that torch knows."""
    value &= (1 << _BITS) - 1
    return value - (1 << _BITS) if value >> (_BITS - 1) else value


_STEP = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def row_keys(
    seed: int, num_prompts: int, num_samples: int, device: torch.device, *, first: int = 0
) -> Tensor:
    """Return the key of every row, int64 [P, G]; ``first`` is the place of the first prompt."""
    start = torch.full((1, 1), _signed(seed), device=device)
    prompts_P1 = torch.arange(first, first + num_prompts, device=device).unsqueeze(1)
    samples_1G = torch.arange(num_samples, device=device).unsqueeze(0)
    return _hash(_hash(_hash(start) + prompts_P1) + samples_1G)


def uniforms(keys_B: Tensor, positions_B: Tensor, attempt: int = 0) -> Tensor:
    """Return one float32 in [0, 1) a row.

    Args:
        positions_B: which token of the completion is drawn, int64.
        attempt: which draw for that token.
    """
    mixed_B = _hash(_hash(keys_B + positions_B) + attempt)
    return _shifted(mixed_B, _BITS - _UNIFORM_BITS).float() * 2.0**-_UNIFORM_BITS


def _hash(values: Tensor) -> Tensor:
    values = (values + 1) * _STEP
    values = (values ^ _shifted(values, 30)) * _FIRST
    values = (values ^ _shifted(values, 27)) * _SECOND
    return values ^ _shifted(values, 31)


def _shifted(values: Tensor, by: int) -> Tensor:
    """Shift right without the sign, which torch's own shift repeats."""
    return (values >> by) & ((1 << (_BITS - by)) - 1)
