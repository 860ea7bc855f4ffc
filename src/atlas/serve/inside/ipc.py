"""Tensors of another process on the same GPU, by handles that travel as JSON.

vLLM's own way over HTTP pickles the handles, and its server has to be told to unpickle what it is
sent. A handle is numbers and a few bytes; here nothing else is accepted.
"""

from __future__ import annotations

import base64
from typing import Any

import torch
from torch.multiprocessing.reductions import rebuild_cuda_tensor

BYTES_FIELDS = ("handle", "counter_handle", "event_handle")


def open_handles(entries: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Return the tensors by name; they are the sender's memory until they are dropped.

    Args:
        entries: As ``atlas.serve.transfer.ipc`` makes them: name, dtype, shape and ``ipc``, the
            handle as it is seen from each GPU, by the GPU's UUID.

    Raises:
        ValueError: There is no handle for this worker's GPU.
    """
    device = torch.cuda.current_device()
    uuid = str(torch.cuda.get_device_properties(device).uuid)
    return {entry["name"]: _open(entry, uuid, device) for entry in entries}


def _open(entry: dict[str, Any], uuid: str, device: int) -> torch.Tensor:
    if uuid not in entry["ipc"]:
        raise ValueError(
            f"{entry['name']} lies on GPU {', '.join(entry['ipc'])}, and this worker is on {uuid}: "
            "handles reach only the same GPU"
        )
    shared = entry["ipc"][uuid]
    raw = {name: base64.b64decode(shared[name]) for name in BYTES_FIELDS}
    return rebuild_cuda_tensor(
        torch.Tensor,
        torch.Size(entry["shape"]),
        tuple(shared["stride"]),
        int(shared["offset"]),
        torch.storage.TypedStorage,
        getattr(torch, entry["dtype"]),
        device,
        raw["handle"],
        int(shared["storage_bytes"]),
        int(shared["storage_offset"]),
        False,
        raw["counter_handle"],
        int(shared["counter_offset"]),
        raw["event_handle"],
        bool(shared["event_sync"]),
    )
