from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch

from atlas.serve.inside.tensors import checksum, read_tensors
from atlas.serve.transfer.file import write_tensors

TENSORS = {
    "a": torch.randn(3, 5),
    "b": torch.arange(7, dtype=torch.int64),
    "c": torch.randn(130, 64).to(torch.bfloat16),
    "d": torch.tensor(2.5),
    "e": torch.randn(6, 4).t(),
    "f": torch.zeros(0, 4),
}


def written(tmp_path: Path) -> tuple[Path, list[dict]]:
    buffer = io.BytesIO()
    entries = write_tensors(buffer, TENSORS.items())
    path = tmp_path / "weights"
    path.write_bytes(buffer.getvalue())
    return path, json.loads(json.dumps(entries))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path, entries = written(tmp_path)
    found = read_tensors(path, entries)
    assert list(found) == list(TENSORS)
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_one_flipped_bit_is_seen(tmp_path: Path) -> None:
    path, entries = written(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[entries[2]["offset"] + 1000] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="the bytes of c changed"):
        read_tensors(path, entries)


def test_a_short_file_is_seen(tmp_path: Path) -> None:
    path, entries = written(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="ends before"):
        read_tensors(path, entries)


def test_checksum_sees_places_and_length() -> None:
    raw = torch.randint(0, 256, (3 * 8192 + 5,), dtype=torch.uint8)
    words = raw[: 3 * 8192].view(torch.int64)
    swapped_words, swapped_rows = raw.clone(), raw.clone()
    swapped_words[: 3 * 8192].view(torch.int64)[[0, 1]] = words[[1, 0]]
    swapped_rows[:8192], swapped_rows[8192:16384] = raw[8192:16384], raw[:8192]
    longer = torch.cat([raw, torch.zeros(1, dtype=torch.uint8)])
    last = raw.clone()
    last[-1] ^= 1
    sums = [checksum(r) for r in (raw, swapped_words, swapped_rows, longer, last)]
    assert len(set(sums)) == len(sums)
    assert checksum(raw.clone()) == checksum(raw)
