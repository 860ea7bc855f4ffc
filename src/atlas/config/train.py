"""Configuration of every training of a teacher: the parts that all of them have."""

from __future__ import annotations

from dataclasses import dataclass

from atlas.config.parts.data import DataConfig
from atlas.config.parts.engine import EngineConfig, shares_weights
from atlas.config.parts.model import ModelConfig
from atlas.config.parts.optim import OptimConfig
from atlas.config.parts.record import RecordConfig
from atlas.config.parts.run import RunConfig
from atlas.errors import AtlasError


@dataclass(frozen=True, kw_only=True)
class TrainConfig(DataConfig, EngineConfig, RecordConfig, OptimConfig, ModelConfig, RunConfig):
    """One optimiser run over one model, on data of one source."""


def unshareable(config: TrainConfig, num_processes: int) -> str | None:
    """Return the key that keeps weights from being shared out as they would be; None: nothing does.

    Weights in 4 bits, and compiled layers, can't be.

    Raises:
        AtlasError: As for `shares_weights`.
    """
    if not shares_weights(config, num_processes):
        return None
    return next((name for name in ("load_in_4bit", "torch_compile") if getattr(config, name)), None)


def check_sharing(config: TrainConfig, num_processes: int) -> None:
    """Refuse to share out what can't be.

    Raises:
        AtlasError: It would be; or as for `shares_weights`.
    """
    name = unshareable(config, num_processes)
    if name is not None:
        raise AtlasError(
            f"{name}=true and an engine that shares weights out (fsdp, or DeepSpeed's stage 3) "
            f"don't go together; use engine=ddp, or leave {name} out"
        )
