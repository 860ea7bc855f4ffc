"""Weights through one file in memory: works on one machine, whatever the devices are.

The trainer writes one tensor after the other, so that it never holds a second copy of the model;
the worker maps the file. On Linux it lies in /dev/shm, which is memory.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from atlas.errors import AtlasError
from atlas.run.files import disk_errors
from atlas.serve.connection import Connection
from atlas.serve.inside.tensors import ALIGNMENT, checksum
from atlas.serve.transfer.protocol import NamedTensors

PHASE = "transfer of weights"


class FileTransfer:
    """The way through a file.

    Args:
        folder: Where it is written for the time of an update; ``None``: in memory if there is such
            a place, else among the temporary files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        memory = Path("/dev/shm")
        self._folder = folder or (memory if os.access(memory, os.W_OK) else None)

    def send(
        self, connection: Connection, tensors: NamedTensors, version: int, deadline_s: float
    ) -> None:
        """Write, have it loaded, remove it."""
        # mkstemp's files can be read by their owner only.
        handle, name = tempfile.mkstemp(prefix="atlas-weights-", dir=self._folder)
        path = Path(name)
        try:
            with disk_errors(path), os.fdopen(handle, "wb") as file:
                entries = write_tensors(file, tensors)
            if not entries:
                raise AtlasError("there are no weights to send: the trained model has no tensor")
            connection.workers(
                "atlas_load_file", version, name, entries, phase=PHASE, deadline_s=deadline_s
            )
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is held."""


def write_tensors(file: BinaryIO, tensors: NamedTensors) -> list[dict[str, Any]]:
    """Write tensors as ``atlas.serve.inside.tensors`` reads them; return their entries."""
    entries: list[dict[str, Any]] = []
    position = 0
    for name, tensor in tensors:
        position += file.write(b"\0" * (-position % ALIGNMENT))
        flat = tensor.detach().to("cpu").contiguous().view(-1)
        raw = flat.view(torch.uint8)
        entries.append(
            {
                "name": name,
                "dtype": str(tensor.dtype).removeprefix("torch."),
                "shape": list(tensor.shape),
                "offset": position,
                "sum": checksum(raw),
            }
        )
        position += file.write(raw.numpy().data)
    return entries
