"""The weights' way to a server, piece by piece; and CUDA IPC to another process."""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
from multiprocessing.connection import Connection

import torch

from atlas.serve.inside.ipc import open_handles
from atlas.serve.inside.tensors import checksum
from atlas.serve.transfer.file import write_tensors
from atlas.serve.transfer.ipc import handle_entry
from gpu_sections.setting import Found, Setting


def transfer(setting: Setting, found: Found) -> None:
    """Device to host, checksum, the file as it is written in bfloat16, a cast on one thread."""
    size = setting.of(2**20, 2**30)
    tensor = torch.randn(size, device=setting.device)
    found["GB"] = round(tensor.nbytes / 1e9, 3)
    with setting.timed(found, "to pageable memory"):
        host = tensor.cpu()
    if not setting.tiny:
        pinned = torch.empty(size, pin_memory=True)
        with setting.timed(found, "to pinned memory"):
            pinned.copy_(tensor, non_blocking=True)
    with setting.timed(found, "checksum"):
        checksum(host.view(torch.uint8))
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    for name, served in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with tempfile.TemporaryFile(dir=memory) as file, setting.timed(found, f"file, {name}"):
            write_tensors(file, [("w", tensor)], served)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as vLLM's workers have it
    with setting.timed(found, "cast on one thread"):
        host.to(torch.bfloat16)
    torch.set_num_threads(threads)


def ipc(setting: Setting, found: Found) -> None:
    """A tensor of this process's GPU memory, summed up by another process."""
    if setting.tiny:
        found["skipped"] = "no GPU"
        return
    tensor = torch.arange(1000, device=setting.device, dtype=torch.float32)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    entries = json.dumps([handle_entry("x", tensor)])
    child = context.Process(target=_open, args=(theirs, entries))
    child.start()
    found["sum there"] = ours.recv() if ours.poll(60) else "no answer"
    child.join(20)
    found["sum here"] = float(tensor.sum())


def _open(pipe: Connection, entries: str) -> None:
    torch.cuda.set_device(0)
    found = open_handles(json.loads(entries))
    pipe.send(float(found["x"].sum()))
