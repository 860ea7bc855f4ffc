"""The workloads of the GRPO step, and what both sides are told alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

LEARNING_RATE = 1e-6
BETA = 0.04
MATMUL_PRECISION = "medium"
"""For `torch.set_float32_matmul_precision`, on both sides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """One row of the table."""

    name: str
    shape: str
    dtype: str
    prompt_length: int
    num_prompts: int = 8
    group_size: int = 8
    max_new_tokens: int = 64
    end_probability: float = 0.0
    """After each token; 0: every completion has ``max_new_tokens``."""
    target: float
    """How many times faster than the peer we want to be."""


def _in_both(name: str, *, target: float, shape: str = "4M", **changes: Any) -> list[Workload]:
    return [
        Workload(name=f"{name}-{dtype}", shape=shape, dtype=dtype, target=target, **changes)
        for dtype in ("f32", "bf16")
    ]


WORKLOADS: tuple[Workload, ...] = (
    *_in_both("p32", prompt_length=32, target=3),
    *_in_both("p256", prompt_length=256, target=5),
    *_in_both(
        "p512-uneven",
        prompt_length=512,
        group_size=16,
        max_new_tokens=128,
        end_probability=1 / 80,  # 64 tokens in the mean; one in five completions is cut
        target=6,
    ),
    *_in_both("125M-p256", shape="125M", prompt_length=256, num_prompts=2, target=2.5),
)


def few_tokens(workload: Workload) -> Workload:
    """Return the same workload so small that a step takes a moment; its times say nothing."""
    return replace(workload, prompt_length=16, num_prompts=2, group_size=2, max_new_tokens=8)


def reward(token_ids: Sequence[int]) -> float:
    """Return the share of even tokens: cheap, deterministic, different within a group."""
    return sum(token % 2 == 0 for token in token_ids) / len(token_ids)
