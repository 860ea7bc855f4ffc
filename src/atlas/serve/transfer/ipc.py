"""Weights from the trainer's memory on the same GPU, without a copy: CUDA's handles, sent as JSON.

vLLM's own way over HTTP pickles the handles, and its server has to be told to unpickle whatever it
is sent. A handle is numbers and a few bytes, so here it travels as those.
"""

from __future__ import annotations

import base64
from typing import Any

import torch
from torch.multiprocessing.reductions import reduce_tensor

from atlas.errors import AtlasError
from atlas.serve.connection import Connection
from atlas.serve.inside.ipc import BYTES_FIELDS
from atlas.serve.transfer.protocol import NamedTensors

PHASE = "transfer of weights over CUDA IPC"


class IPCTransfer:
    """The way for a trainer and a server on one GPU.

    Raises:
        AtlasError: There is no GPU here.
    """

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise AtlasError(
                "weights can't go over CUDA IPC: there is no GPU here; use the way through a file"
            )

    def send(
        self, connection: Connection, tensors: NamedTensors, version: int, deadline_s: float
    ) -> None:
        """Send the handles; the memory stays as it is until the server has loaded from it."""
        kept, entries = [], []
        for name, tensor in tensors:
            # Strong references: a handle doesn't keep its memory.
            kept.append(tensor.detach().contiguous())
            entries.append(handle_entry(name, kept[-1]))
        torch.cuda.synchronize()
        connection.workers("atlas_load_ipc", version, entries, phase=PHASE, deadline_s=deadline_s)
        torch.cuda.ipc_collect()

    def close(self) -> None:
        """Nothing is held."""


def handle_entry(name: str, tensor: torch.Tensor) -> dict[str, Any]:
    """Return what ``atlas.serve.inside.ipc`` opens: a tensor on a GPU, described by its handle."""
    _, parts = reduce_tensor(tensor)
    uuid = str(torch.cuda.get_device_properties(tensor.device).uuid)
    return describe(name, parts, uuid)


def describe(name: str, parts: tuple[Any, ...], uuid: str) -> dict[str, Any]:
    """Return the parts of a handle, as ``torch.multiprocessing`` makes them, as JSON holds them.

    Args:
        parts: What ``reduce_tensor`` returns beside its function.
    """
    _, size, stride, offset, _, dtype, _, handle, storage_bytes, storage_offset = parts[:10]
    _, counter_handle, counter_offset, event_handle, event_sync = parts[10:]
    raw = dict(zip(BYTES_FIELDS, (handle, counter_handle, event_handle), strict=True))
    shared = {
        "stride": list(stride),
        "offset": offset,
        "storage_bytes": storage_bytes,
        "storage_offset": storage_offset,
        "counter_offset": counter_offset,
        "event_sync": event_sync,
        **{field: base64.b64encode(value).decode() for field, value in raw.items()},
    }
    return {
        "name": name,
        "dtype": str(dtype).removeprefix("torch."),
        "shape": list(size),
        "ipc": {uuid: shared},
    }
