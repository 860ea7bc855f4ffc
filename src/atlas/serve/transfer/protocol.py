"""What every way to move weights has in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch

from atlas.serve.connection import Connection

NamedTensors = Iterable[tuple[str, torch.Tensor]]
"""Names as in a checkpoint of the served model."""


class WeightTransfer(Protocol):
    """One way to move weights into a server that is paused."""

    def send(
        self, connection: Connection, tensors: NamedTensors, version: int, deadline_s: float
    ) -> None:
        """Load the tensors into the server's model and record their version there.

        Args:
            tensors: Every parameter; read once, one after the other.

        Raises:
            ControlError: It failed. The server then says ``None`` for its version, or the old one
                where it still has the old weights whole.
        """
        ...

    def close(self) -> None:
        """Give back what is held between updates."""
        ...
