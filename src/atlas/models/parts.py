"""A checkpoint's large files, written in parts: each process what it was given, hashed as it goes.

    process 0 of N   model-00001-of-0000N.safetensors   state.pt
    process k        model-0000k-of-0000N.safetensors   state-0000k.pt

Alone it is ``model.safetensors`` and ``state.pt``. A part holds whole tensors, so that any number
of processes reads what any other number wrote, and `transformers` loads the folder. The digests are
those of the bytes on their way to the disk: nothing is read again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.models.manifest import STATE
from atlas.run.files import give_usual_mode

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""What the format calls them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What one process wrote."""

    digests: Mapping[str, str] = field(default_factory=dict)
    """File -> SHA-256."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Weight -> file."""
    num_bytes: int = 0
    """Of the weights."""


def write_part(
    folder: Path, weights: Mapping[str, Tensor], state: Mapping[str, Any], part: int, num_parts: int
) -> Written:
    """Write one part of a checkpoint, to the disk.

    Args:
        folder: That is not a checkpoint yet.
        weights: In CPU memory; empty for an adapter, which is written otherwise.
        state: Of the training; of parts after the first only the optimiser's moments are read.
        part: From 0.
    """
    digests: dict[str, str] = {}
    name = WEIGHTS if num_parts == 1 else f"model-{part + 1:05d}-of-{num_parts:05d}.safetensors"
    if weights:
        with _hashed(folder / name, digests) as file:
            _write_tensors(file, weights)
    with _hashed(folder / (f"state-{part + 1:05d}.pt" if part else STATE), digests) as file:
        torch.save(state, file)  # pyright: ignore[reportArgumentType]
    return Written(
        digests=digests,
        places=dict.fromkeys(weights, name),
        num_bytes=sum(tensor.nbytes for tensor in weights.values()),
    )


def index_of(parts: Sequence[Written]) -> str | None:
    """Return the list that says which weight is in which file; None where there is one file."""
    places = {name: file for part in parts for name, file in part.places.items()}
    if set(places.values()) <= {WEIGHTS}:
        return None
    about = {"total_size": sum(part.num_bytes for part in parts)}
    return json.dumps({"metadata": about, "weight_map": places}, indent=2, sort_keys=True) + "\n"


class _Hashing:
    """A file that sums up what is written to it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.sum = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.sum.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


@contextmanager
def _hashed(path: Path, digests: dict[str, str]) -> Iterator[_Hashing]:
    """Give a file to write to; at the end it is on the disk, and its digest among the others."""
    with path.open("wb") as file:
        hashing = _Hashing(file)
        yield hashing
        file.flush()
        os.fsync(file.fileno())
    give_usual_mode(path)
    digests[path.name] = hashing.sum.hexdigest()


def _write_tensors(file: _Hashing, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file piece by piece: the library's function holds the interpreter."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    # Wide ones first, so that each begins at a multiple of its width.
    ordered = sorted(tensors.items(), key=lambda entry: -entry[1].element_size())
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.nbytes
        about = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape)}
        header[name] = {**about, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for _, tensor in ordered:
        if tensor.numel():
            file.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
