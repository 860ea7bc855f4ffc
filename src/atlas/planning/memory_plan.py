"""What a training run will hold in memory, before it begins: arithmetic, nothing is allocated.

    weights + gradients + optimiser states      a number of bytes a parameter, by precision
    activations                                 a number of bytes a token and layer
    projection                                  a chunk of logits, its gradient and its operands

The number of activations kept for the backward pass is counted from a decoder layer of
`transformers` (norms, rotated queries and keys, attention, gated feed-forward), in units of hidden
and intermediate width. It is an estimate; the plan's own benchmark compares it with what is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import psutil

from atlas.machine.cgroup import cgroup_room

Precision = Literal["float32", "bf16", "bf16_weights"]

# Bytes of weight, gradient and the two moments of AdamW.
_BYTES: Mapping[Precision, tuple[int, int, int]] = {
    "float32": (4, 4, 8),
    "bf16": (4, 4, 8),
    "bf16_weights": (2, 2, 4),
}
_HIDDEN_KEPT = 14
_INTERMEDIATE_KEPT = 5
_CHUNK_LOGITS = 2**25
LIBRARIES = 700_000_000
"""What PyTorch and transformers take before a model is there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """What of a model decides its memory."""

    num_parameters: int
    num_layers: int
    hidden: int
    intermediate: int
    vocab: int
    kv_width: int = 0
    """Numbers that one layer keeps of a token as its key: key/value heads times their width."""
    window: int = 0
    """Most tokens of a sequence; 0: not said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """How the model is trained."""

    precision: Precision
    gradient_checkpointing: bool
    tokens: int
    """Of one forward pass."""
    computes_bf16: bool = True
    """False where bfloat16 weights are brought to float32 for every product, and activations are
    float32 too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryPlan:
    """Bytes by what they are for.

    Example:
        >>> MemoryPlan(parts={"weights": 4, "gradients": 4}).total
        8
    """

    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(self.parts.values())


def plan_training(shape: ModelShape, work: Workload) -> MemoryPlan:
    """Return what training takes on one device."""
    weight, gradient, states = _BYTES[work.precision]
    return MemoryPlan(
        parts={
            "weights": weight * shape.num_parameters,
            "gradients": gradient * shape.num_parameters,
            "optimiser states": states * shape.num_parameters,
            **_copies(shape, work),
            "activations": activations(shape, work),
            "projection": projection(shape, work.tokens),
            "libraries": LIBRARIES,
        }
    )


def _copies(shape: ModelShape, work: Workload) -> dict[str, int]:
    """Return what autocast keeps for the backward pass: the weights rounded to bfloat16."""
    if work.precision != "bf16":
        return {}
    return {"bfloat16 copies": 2 * shape.num_parameters}


def activations(shape: ModelShape, work: Workload) -> int:
    """Return what the layers keep for the backward pass."""
    size = 2 if work.precision != "float32" and work.computes_bf16 else 4
    layer = (_HIDDEN_KEPT * shape.hidden + _INTERMEDIATE_KEPT * shape.intermediate) * size
    kept = shape.hidden * size * shape.num_layers + layer
    full = layer * shape.num_layers
    return work.tokens * (kept if work.gradient_checkpointing else full)


def projection(shape: ModelShape, tokens: int) -> int:
    """Return what the projection to the vocabulary takes: a chunk of logits and its gradient.

    The gradient of the vocabulary's weights is summed up in float32.
    """
    chunk = min(_CHUNK_LOGITS, tokens * shape.vocab)
    return chunk * 4 * 2 + shape.vocab * shape.hidden * 4


def memory_limit() -> tuple[int, str]:
    """Return how many bytes a run may take on this machine, and where they are."""
    import torch  # noqa: PLC0415 - slow to import, and the arithmetic does without

    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return free, f"free on {torch.cuda.get_device_name()}"
    free, room = psutil.virtual_memory().available, cgroup_room()
    if room is not None and room < free:
        return room, "free in this container's memory"
    return free, "free in this machine's memory"
