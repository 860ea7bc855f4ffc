"""Configuration of the optimiser: its steps, their schedule, and how each is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atlas.config.grammar.schema import Part, key

LrSchedulerType = Literal["cosine", "linear", "constant"]
MatmulPrecision = Literal["auto", "highest", "high", "medium"]


@dataclass(frozen=True, kw_only=True)
class OptimConfig(Part):
    """Steps of AdamW."""

    learning_rate: float = key(
        2e-5,
        "Peak step size of AdamW. Higher when the loss hardly moves, lower when it jumps.",
        gt=0,
    )
    lr_scheduler_type: LrSchedulerType = key(
        "cosine",
        "How the learning rate goes from its peak to the end: cosine and linear fall to 0.",
    )
    warmup_ratio: float = key(
        0.1, "Share of the steps in which the rate rises to its peak.", ge=0, lt=1
    )
    weight_decay: float = key(0.01, "Decoupled decay of the weights, as in AdamW.", ge=0)
    max_grad_norm: float = key(
        1.0, "Longer gradients are scaled down to this norm. Lower when single steps hurt.", gt=0
    )
    per_device_train_batch_size: int = key(
        2, "Examples in one forward pass on each device. Lower when memory runs out.", ge=1
    )
    gradient_accumulation_steps: int = key(
        8, "Forward passes that make one optimiser step. Raise when lowering the batch size.", ge=1
    )
    gradient_checkpointing: bool | None = key(
        None,
        "Compute activations again in the backward pass: less memory, about a third slower. auto: "
        "where the plan finds no room without.",
        null="auto",
    )
    dataloader_num_workers: int = key(
        0,
        "Processes that would read data ahead. It is all in memory before the first step, so they "
        "have nothing to do; the log says so.",
        ge=0,
    )
    float32_matmul_precision: MatmulPrecision = key(
        "auto",
        "How exact products of float32 matrices have to be. auto: the fastest that keeps float32's "
        "accuracy on this processor.",
    )
