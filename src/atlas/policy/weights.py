"""The policy's weights as a server takes them: a checkpoint's tensors, or an adapter's folder."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from atlas.models.lora import save_adapter
from atlas.models.passes.reference import Adapted
from atlas.serve.control import InFlight
from atlas.serve.transfer.protocol import NamedTensors

ADAPTER_NAME = "policy"
"""What requests call the model once its adapter is served."""


class WeightControl(Protocol):
    """What is asked of a server's control endpoints; `atlas.serve.control.ControlClient` has it."""

    def update_weights(
        self, named_tensors: NamedTensors, version: int, *, in_flight: InFlight = "wait"
    ) -> None:
        """Replace all weights."""
        ...

    def load_adapter(
        self,
        folder: Path,
        version: int,
        *,
        name: str = ADAPTER_NAME,
        in_flight: InFlight = "wait",
    ) -> None:
        """Replace the adapter."""
        ...

    def version(self) -> int | None:
        """Return the version that was loaded last."""
        ...

    def resume(self) -> None:
        """Go on with generation, which an earlier trainer may have left paused."""
        ...


def checkpoint_tensors(model: PreTrainedModel) -> NamedTensors:
    """Yield every parameter under its name in a checkpoint, a tied output projection left out."""
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    state = {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
    yield from revert_weight_conversion(model, state).items()


def send_weights(
    control: WeightControl, model: PreTrainedModel, version: int, in_flight: InFlight
) -> str | None:
    """Give a server the policy's weights; an adapter alone where that is all that is trained.

    Returns:
        What requests call the model from now on; None: as before.
    """
    if not isinstance(model, Adapted):
        control.update_weights(checkpoint_tensors(model), version, in_flight=in_flight)
        return None
    with _adapter_folder(model) as folder:
        control.load_adapter(folder, version, name=ADAPTER_NAME, in_flight=in_flight)
    return ADAPTER_NAME


@contextlib.contextmanager
def _adapter_folder(model: Any) -> Iterator[Path]:
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(
            prefix="atlas-adapter-", dir=memory if memory.is_dir() else None
        ) as folder,
        torch.no_grad(),
    ):
        save_adapter(model, Path(folder))
        yield Path(folder)
