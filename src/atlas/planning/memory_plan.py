"""What one device holds while a model is trained: arithmetic, nothing is allocated.

    always       weights, optimiser states, reference, student, libraries; where weights are divided
                 and this device computes with all of them, a whole copy too
    the update   gradients, activations, projection, layers gathered from other devices
    rollouts     keys and values of the rows in flight, weights in the precision of sampling, the
                 pass that scores reference answers

Update and rollouts take turns, so the larger of the two counts, but where servers sample ahead.
Bytes of weights, gradients and
states are divided among devices as the engine divides them. The number of activations kept for the
backward pass is counted from a decoder layer of `transformers` (norms, rotated queries and keys,
attention, gated feed-forward), in units of hidden and intermediate width, for micro-batches as full
as the settings allow. It is an estimate; `make gpu` compares it with what is used. Of DDP's buckets
nothing is counted: they are the gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import psutil

from atlas.machine.cgroup import cgroup_room

Precision = Literal["float32", "bf16", "bf16_weights"]
Engine = Literal["plain", "ddp", "fsdp", "deepspeed"]

_FULL = 4
"""Bytes of a number in float32."""
_HIDDEN_KEPT = 14
_INTERMEDIATE_KEPT = 5
_CHUNK_LOGITS, _GPU_CHUNK_LOGITS = 2**25, 2**27
_BUCKET = 500_000_000
"""Numbers in each of DeepSpeed's two buckets."""
_HIDDEN_PASSED, _INTERMEDIATE_PASSED = 4, 3
"""What a layer has at a time in a pass without gradients."""
SCORED_TOKENS = 2**15
"""Of one pass that scores reference answers, at most."""
LIBRARIES = 700_000_000
"""What PyTorch and transformers take before a model is there."""
_CUDA = 1_500_000_000
"""What CUDA, NCCL and gaps between tensors take of a GPU."""


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
    query_width: int = 0
    """All heads times their width; 0: `hidden`."""
    window: int = 0
    """Most tokens of a sequence; 0: not said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """How a model is trained, as far as memory goes."""

    shape: ModelShape
    tokens: int
    """Of one forward pass of the update, padding counted."""
    precision: Precision = "float32"
    computes_bf16: bool = True
    """False where bfloat16 is brought to float32 for every product."""
    gradient_checkpointing: bool = False
    num_devices: int = 1
    engine: Engine = "plain"
    zero_stage: int = 0
    """Of DeepSpeed."""
    offload: bool = False
    """Optimiser states are in CPU memory; with FSDP the weights too."""
    lora_rank: int = 0
    """0: every weight is trained."""
    four_bits: bool = False
    """Frozen weights are kept in 4 bits."""
    on_gpu: bool = False
    repeated: int = 0
    """Tokens of a pass on a GPU, each prompt once a member; their keys and values count for every
    head: what it takes where a model's prompts can't be shared, an upper bound elsewhere."""

    @property
    def trained_bytes(self) -> int:
        """Bytes of a trained weight, of its gradient, and of each of AdamW's two moments."""
        return 2 if self.precision == "bf16_weights" else _FULL

    @property
    def computed_bytes(self) -> int:
        """Bytes of a number that is computed: of activations, of keys and values."""
        return 2 if self.precision != "float32" and self.computes_bf16 else _FULL

    @property
    def frozen_bytes(self) -> float:
        """Bytes of a weight that isn't trained."""
        if self.four_bits:
            return 0.56  # with the scale of every block of 64
        return self.computed_bytes

    @property
    def trained(self) -> int:
        """Weights that are trained: all, or those of adapters on every linear layer but the head.

        An adapter of rank r on a layer of a inputs and b outputs has r (a + b) weights.
        """
        if not self.lora_rank:
            return self.shape.num_parameters
        hidden, kv, wide = self.shape.hidden, self.shape.kv_width, self.shape.intermediate
        both = 2 * (hidden + hidden) + 2 * (hidden + kv) + 3 * (hidden + wide)
        return self.lora_rank * both * self.shape.num_layers

    @property
    def shared(self) -> tuple[bool, bool, bool]:
        """Whether weights, gradients and states are divided among the devices."""
        if self.engine == "fsdp":
            return True, True, True
        stage = self.zero_stage if self.engine == "deepspeed" else 0
        return stage >= 3, stage >= 2, stage >= 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollouts:
    """What is sampled on the same device."""

    shape: ModelShape
    rows: int
    tokens: int
    """Longest row, prompt included."""
    copied: bool = False
    """The weights are kept in float32 and sampled from in another precision."""
    scored: int = 0
    """Tokens of a pass that only scores them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DevicePlan:
    """Bytes of one device by what they are for, and of this device's share of the CPU's memory.

    Example:
        >>> DevicePlan(always={"weights": 4}, update={"activations": 3}, rollouts={"cache": 1}).peak
        7
    """

    always: Mapping[str, int]
    update: Mapping[str, int]
    rollouts: Mapping[str, int] = field(default_factory=dict)
    on_cpu: Mapping[str, int] = field(default_factory=dict)
    at_once: bool = False
    """Rollouts go on during the update."""

    @property
    def peak(self) -> int:
        """Return the most that is held at a time."""
        turns = sum(self.update.values()), sum(self.rollouts.values())
        return sum(self.always.values()) + (sum(turns) if self.at_once else max(turns))


def plan_device(
    setup: Setup,
    *,
    reference: bool = False,
    student: ModelShape | None = None,
    whole: bool = False,
    rollouts: Mapping[str, Rollouts] | None = None,
    at_once: bool = False,
) -> DevicePlan:
    """Return the plan of one device.

    Args:
        reference: A frozen copy of it is held for the KL, divided where FSDP divides the weights;
            one with an adapter needs none.
        student: The frozen student, where it is on the same device.
        whole: This device computes with the whole model too, as when it samples from it.
        rollouts: Who samples on this device, by the name that its cache has in the plan; in turn.
        at_once: Rollouts go on during the update.
    """
    weights, gradients, states = _trained_bytes(setup)
    on_cpu: dict[str, int] = {}
    always = {"weights": weights, "optimiser states": states}
    update = {"gradients": gradients, **_passing(setup)}
    if setup.engine == "deepspeed" and setup.zero_stage:
        always["DeepSpeed's copy of its share"] = _FULL * setup.trained // setup.num_devices
        update["DeepSpeed's buckets"] = 2 * _FULL * min(_BUCKET, setup.trained)
    if setup.offload:
        moved = {"optimiser states", "DeepSpeed's copy of its share"}
        if setup.engine == "fsdp":
            moved |= {"weights", "gradients"}
        for parts in (always, update):
            on_cpu |= {name: parts.pop(name) for name in moved & parts.keys()}
    if setup.shared[0] and whole:
        always["whole copy of the weights"] = _weights(setup)
    elif setup.shared[0]:  # the first process has it
        on_cpu["whole copy of the weights"] = _weights(setup) // setup.num_devices
    if reference and not setup.lora_rank:
        divided = setup.num_devices if setup.engine == "fsdp" else 1
        always["reference"] = _reference(setup) // divided
    if student:
        always["student"] = setup.computed_bytes * student.num_parameters
    always["libraries"] = _CUDA if setup.on_gpu else LIBRARIES
    turns = [_turn(setup, name, each) for name, each in (rollouts or {}).items()]
    return DevicePlan(
        always=always,
        update=update,
        rollouts=max(turns, key=lambda turn: sum(turn.values()), default={}),
        on_cpu=on_cpu,
        at_once=at_once,
    )


def _weights(setup: Setup) -> int:
    """Return the bytes of all weights."""
    weights = float(setup.trained_bytes * setup.trained)
    if setup.lora_rank:
        weights += setup.shape.num_parameters * setup.frozen_bytes
    return int(weights)


def _reference(setup: Setup) -> int:
    """Return the bytes of the frozen copy: what is looked up in it, not multiplied, stays whole."""
    looked_up = setup.shape.vocab * setup.shape.hidden
    multiplied = setup.shape.num_parameters - looked_up
    return _FULL * looked_up + setup.computed_bytes * multiplied


def _trained_bytes(setup: Setup) -> tuple[int, int, int]:
    """Return the bytes of weights, gradients and optimiser states on one device."""
    gradients = setup.trained_bytes * setup.trained
    parts = _weights(setup), gradients, 2 * gradients
    return tuple(  # pyright: ignore[reportReturnType]
        int(part / (setup.num_devices if shared else 1))
        for part, shared in zip(parts, setup.shared, strict=True)
    )


def _passing(setup: Setup) -> dict[str, int]:
    """Return what a forward and backward pass holds besides gradients."""
    shape = setup.shape
    parts = {"activations": _activations(setup), "projection": _projection(setup)}
    if setup.repeated:
        # Keys and values of the layers that are kept; where they are computed again, of one.
        layers = 1 if setup.gradient_checkpointing else shape.num_layers
        width = shape.query_width or shape.hidden
        parts["repeated keys"] = 2 * layers * width * setup.repeated * setup.computed_bytes
    if setup.shared[0] and (setup.num_devices > 1 or setup.offload):
        parts["gathered layers"] = _gathered(setup)
    if setup.precision == "bf16" and not setup.lora_rank and setup.engine != "fsdp":
        # Autocast's, kept for the backward pass; FSDP gathers in bfloat16 instead.
        parts["bf16 copies of the weights"] = 2 * shape.num_parameters
    return parts


def _gathered(setup: Setup) -> int:
    """Return what is gathered from other devices, or from CPU memory, in a pass.

    The layer at work and the next one; embedding and head, which aren't always one, until the pass
    is over. With the gradients of the head, and of a layer, which are added up in float32.
    """
    shape, size = setup.shape, setup.computed_bytes if setup.engine == "fsdp" else _FULL
    layer = (shape.num_parameters - shape.vocab * shape.hidden) // shape.num_layers
    ends = 2 * shape.vocab * shape.hidden
    weights = size * (2 * layer + ends)
    return weights if setup.lora_rank else weights + size * ends + (size + _FULL) * layer


def _turn(setup: Setup, name: str, rollouts: Rollouts) -> dict[str, int]:
    """Return what is held while one model samples."""
    shape = rollouts.shape
    numbers = 2 * shape.num_layers * shape.kv_width * rollouts.rows * rollouts.tokens
    held = {name: numbers * setup.computed_bytes}
    if rollouts.copied and setup.computed_bytes < _FULL:
        held["bf16 copy to sample from"] = setup.computed_bytes * shape.num_parameters
    if rollouts.scored:
        passed = _HIDDEN_PASSED * shape.hidden + _INTERMEDIATE_PASSED * shape.intermediate
        held[name] += rollouts.scored * passed * setup.computed_bytes + 8 * _chunk(
            setup, shape, rollouts.scored
        )
    return held


def _activations(setup: Setup) -> int:
    """Return what the layers keep for the backward pass."""
    shape, size = setup.shape, setup.computed_bytes
    layer = (_HIDDEN_KEPT * shape.hidden + _INTERMEDIATE_KEPT * shape.intermediate) * size
    kept = shape.hidden * size * shape.num_layers + layer
    return setup.tokens * (kept if setup.gradient_checkpointing else layer * shape.num_layers)


def _projection(setup: Setup) -> int:
    """Return what the projection to the vocabulary takes: a chunk of logits and its gradient.

    The gradient of the vocabulary's weights is summed up in float32.
    """
    shape = setup.shape
    return 8 * _chunk(setup, shape, setup.tokens) + shape.vocab * shape.hidden * _FULL


def _chunk(setup: Setup, shape: ModelShape, tokens: int) -> int:
    """Return the logits of a chunk."""
    most = _GPU_CHUNK_LOGITS if setup.on_gpu else _CHUNK_LOGITS
    return min(most, tokens * shape.vocab)


def memory_limit(memory_limit_gb: float = 0, *, processes: int = 1) -> tuple[int, str]:
    """Return how many bytes a device may take, and whose limit it is.

    Args:
        memory_limit_gb: What the user set; 0: what is free on this machine.
        processes: That share this machine's memory, where there is no GPU.
    """
    import torch  # noqa: PLC0415 - slow to import, and the arithmetic does without

    if memory_limit_gb:
        return int(memory_limit_gb * 1e9), "memory_limit_gb"
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return free, f"free on {torch.cuda.get_device_name()}"
    free, where = psutil.virtual_memory().available, "free in this machine's memory"
    room = cgroup_room()
    if room is not None and room < free:
        free, where = room, "free in this container's memory"
    return (
        free // processes,
        where if processes == 1 else f"{where}, shared by {processes} processes",
    )
