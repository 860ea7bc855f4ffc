"""Weights through one file in memory: works on one machine, whatever the devices are.

The trainer writes one tensor after the other, so that it never holds a second copy of the model,
and in the precision that the server computes in: rounded here as it would round them, they are half
as many bytes. The worker maps the file. On Linux it lies in /dev/shm, which is memory.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch

from atlas.errors import AtlasError
from atlas.run.files import disk_errors
from atlas.serve.connection import Connection
from atlas.serve.inside.tensors import ALIGNMENT, checksum
from atlas.serve.transfer.protocol import NamedTensors

PHASE = "transfer of weights"
ANSWER_S = 60.0
"""Seconds for an answer that takes no work."""
_HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class FileTransfer:
    """The way through a file.

    Args:
        folder: Where it is written for the time of an update; ``None``: in memory if there is such
            a place and it has room (a container's has 64 MB by default), else among the temporary
            files.
        memory: That place.
    """

    def __init__(self, folder: Path | None = None, *, memory: Path = Path("/dev/shm")) -> None:
        self._folder = folder
        self._memory = memory

    def send(
        self, connection: Connection, tensors: NamedTensors, version: int, deadline_s: float
    ) -> None:
        """Write, have it loaded, remove it."""
        tensors = list(tensors)  # of the model, so that this takes no memory
        served = _served_dtype(connection)
        folder = self._folder or self._with_room(tensors)
        # mkstemp's files can be read by their owner only.
        handle, name = tempfile.mkstemp(prefix="atlas-weights-", dir=folder)
        path = Path(name)
        try:
            with disk_errors(path), os.fdopen(handle, "wb") as file:
                entries = write_tensors(file, tensors, served)
            if not entries:
                raise AtlasError("there are no weights to send: the trained model has no tensor")
            connection.workers(
                "atlas_load_file", version, name, entries, phase=PHASE, deadline_s=deadline_s
            )
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is held."""

    def _with_room(self, tensors: Sequence[tuple[str, torch.Tensor]]) -> Path | None:
        needed = sum(tensor.nbytes + ALIGNMENT for _, tensor in tensors)
        if not os.access(self._memory, os.W_OK):
            return None
        return self._memory if shutil.disk_usage(self._memory).free > needed else None


def _served_dtype(connection: Connection) -> torch.dtype:
    """Return what the server computes in; float32 where it doesn't say."""
    workers = connection.workers("atlas_state", phase=PHASE, deadline_s=ANSWER_S)
    said = {str(one.get("dtype")) for one in workers}
    return _HALVES.get(said.pop(), torch.float32) if len(said) == 1 else torch.float32


def write_tensors(
    file: BinaryIO, tensors: NamedTensors, served: torch.dtype = torch.float32
) -> list[dict[str, Any]]:
    """Write tensors as ``atlas.serve.inside.tensors`` reads them; return their entries.

    Args:
        served: What float32 is rounded to.
    """
    entries: list[dict[str, Any]] = []
    position = 0
    for name, tensor in tensors:
        position += file.write(b"\0" * (-position % ALIGNMENT))
        sent = tensor.detach().to(served) if tensor.dtype == torch.float32 else tensor.detach()
        flat = sent.to("cpu").contiguous().view(-1)
        raw = flat.view(torch.uint8)
        entries.append(
            {
                "name": name,
                "dtype": str(sent.dtype).removeprefix("torch."),
                "shape": list(tensor.shape),
                "offset": position,
                "sum": checksum(raw),
            }
        )
        position += file.write(raw.numpy().data)
    return entries
