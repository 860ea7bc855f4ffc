"""Tensors in one file of raw bytes, and sums over them that both sides compute alike.

The file has the tensors one after the other, each at a multiple of 64 bytes; what lies where is a
list of entries that travels by itself, as JSON::

    {"name": "norm.weight", "dtype": "float32", "shape": [32], "offset": 0, "sum": "0a1b2c3d"}
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import torch

ALIGNMENT = 64
_COLUMNS = 1024
_ROW_BYTES = _COLUMNS * 8


def checksum(raw: torch.Tensor) -> str:
    """Return a sum over the bytes of a one-dimensional uint8 tensor: 8 hexadecimal digits.

    The bytes are a table of 64-bit words; its column and row sums, and what is left after the last
    full row, go through CRC-32. It takes as long as reading them twice, where CRC-32 over all of
    them takes ten times that, and sees words and rows that changed places, as one sum wouldn't.
    """
    whole = raw.numel() // _ROW_BYTES * _ROW_BYTES
    table = raw[:whole].view(torch.int64).view(-1, _COLUMNS)
    crc = raw.numel()
    for part in (table.sum(0), table.sum(1), raw[whole:]):
        crc = zlib.crc32(part.numpy().tobytes(), crc & 0xFFFFFFFF)
    return f"{crc:08x}"


def read_tensors(path: Path, entries: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name, as views of the mapped file.

    Raises:
        ValueError: The file is too short, or bytes in it differ from what was written.
    """
    size = path.stat().st_size
    raw = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
    tensors = {}
    for entry in entries:
        dtype = getattr(torch, entry["dtype"])
        numel = 1
        for length in entry["shape"]:
            numel *= length
        start = entry["offset"]
        end = start + numel * dtype.itemsize
        if end > size:
            raise ValueError(f"{path} ends before {entry['name']}: {size} bytes, not {end}")
        part = raw[start:end]
        if checksum(part) != entry["sum"]:
            raise ValueError(f"the bytes of {entry['name']} changed on their way")
        tensors[entry["name"]] = part.view(dtype).view(entry["shape"])
    return tensors
