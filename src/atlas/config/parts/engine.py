"""Configuration of how processes share a training: the engine, what it keeps in CPU memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from atlas.config.grammar.places import find_config_dir, first_file
from atlas.config.grammar.schema import Part, key
from atlas.errors import AtlasError
from atlas.json_file import read_json

EngineName = Literal["plain", "ddp", "fsdp", "deepspeed"]
EngineChoice = Literal["auto", "plain", "ddp", "fsdp", "deepspeed"]


@dataclass(frozen=True, kw_only=True)
class EngineConfig(Part):
    """How one or several processes run a training."""

    engine: EngineChoice = key(
        "auto",
        "Who holds what. ddp: every process the whole model and its optimiser states; fsdp: each a "
        "share of all; deepspeed: as its file says. auto: deepspeed where a file is given, fsdp "
        "with offload, else what the plan finds room with: plain in one process, ddp, fsdp, fsdp "
        "with offload.",
    )
    deepspeed: str | None = key(
        None,
        "DeepSpeed's JSON file, as in configs/deepspeed/zero2.json. It says which stage of ZeRO "
        "and what is offloaded; batch, optimiser, clipping and precision stay with the keys here.",
    )
    offload: bool = key(
        False,
        "Keep optimiser states (fsdp: weights too) in CPU memory: fits larger models, and is "
        "slower.",
    )
    phase_timeout: float = key(
        1800.0,
        "Seconds that processes wait for one another at the end of a phase, before they give up. "
        "Higher when single rollouts or checkpoints take longer.",
        gt=0,
    )
    memory_limit_gb: float = key(
        0.0,
        "Memory of one device, in GB, that a training is planned for; 0: what the GPU, or this "
        "machine, has free. With --dry-run, 80 plans for an H100 from anywhere.",
        ge=0,
    )


def chosen_engine(config: EngineConfig, num_processes: int) -> EngineName:
    """Return the engine that a configuration means.

    Raises:
        AtlasError: Two keys contradict each other, or the engine needs one process.
    """
    choice = config.engine
    if config.deepspeed and choice not in ("auto", "deepspeed"):
        raise AtlasError(
            f"engine={choice} and deepspeed={config.deepspeed} contradict each other; leave one of "
            "them out"
        )
    if choice == "deepspeed" and not config.deepspeed:
        raise AtlasError(
            "engine=deepspeed needs DeepSpeed's file: deepspeed=configs/deepspeed/zero2.json"
        )
    if config.offload and choice in ("plain", "ddp"):
        raise AtlasError(
            f"engine={choice} and offload=true contradict each other: {choice} keeps nothing "
            "elsewhere; use engine=fsdp"
        )
    if choice == "plain" and num_processes > 1:
        raise AtlasError(
            f"engine=plain is for one process, but there are {num_processes}; use engine=ddp"
        )
    if choice != "auto":
        return choice
    if config.deepspeed:
        return "deepspeed"
    if config.offload:
        return "fsdp"
    return "ddp" if num_processes > 1 else "plain"


def shares_weights(config: EngineConfig, num_processes: int) -> bool:
    """Tell whether each process will hold only a share of the weights.

    Raises:
        AtlasError: Keys contradict each other, or DeepSpeed's file can't be read.
    """
    name = chosen_engine(config, num_processes)
    if name == "deepspeed":
        assert config.deepspeed is not None  # chosen_engine saw to it
        return zero_stage(config.deepspeed) == 3
    return name == "fsdp"


def zero_stage(path: str) -> int:
    """Return which stage of ZeRO DeepSpeed's file asks for; 0 where it asks for none.

    Raises:
        AtlasError: It can't be read.
    """
    zero = read_deepspeed_file(path).get("zero_optimization")
    stage = zero.get("stage", 0) if isinstance(zero, dict) else 0
    return stage if isinstance(stage, int) else 0


def read_deepspeed_file(path: str) -> dict[str, Any]:
    """Return the content of DeepSpeed's file: as given, or beside the shipped ``configs/``.

    Raises:
        AtlasError: It isn't there, or isn't JSON.
    """
    try:
        return read_json(first_file([Path(path), find_config_dir().parent / path]) or Path(path))
    except AtlasError as error:
        raise AtlasError(f"deepspeed={error}; comments are not allowed in it") from error
