from __future__ import annotations

import os
import pickle
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.errors import AtlasError
from atlas.from_scratch.model.pickled import FORMAT, as_float32, read_pickled, write_pickled


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    tensors = {
        "a": ("float32", np.arange(6, dtype=np.float32).reshape(2, 3)),
        "b": ("bfloat16", np.array([0x3F80, 0xC000], dtype=np.uint16)),
    }
    write_pickled(tmp_path / "w.pkl", tensors)
    back = read_pickled(tmp_path / "w.pkl")
    assert {name: dtype for name, (dtype, _) in back.items()} == {"a": "float32", "b": "bfloat16"}
    assert np.array_equal(back["a"][1], tensors["a"][1])
    assert as_float32(*back["b"]).tolist() == [1.0, -2.0]


class Attack:
    """Runs a command when it is unpickled by anything that doesn't refuse."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.proof}",)


def test_every_shape_and_type_comes_back(tmp_path: Path) -> None:
    read_only = np.arange(300, dtype=np.float16)
    read_only.flags.writeable = False
    arrays = {
        "none": np.zeros((0, 70_000), np.float32),
        "number": np.array(3.5, np.float32),
        "long": np.arange(70_000, dtype=np.int64),
        "read only": read_only,
        "columns": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
        "true": np.array([True, False]),
        "a name of 300 letters " + "a" * 300: np.arange(4, dtype=np.uint8).reshape(1, 2, 1, 2),
        **{f"{i}": np.full((2, 3, 5), i, np.float32) for i in range(300)},
    }
    write_pickled(tmp_path / "w.pkl", {name: (a.dtype.name, a) for name, a in arrays.items()})
    back = read_pickled(tmp_path / "w.pkl")
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        dtype, again = back[name]
        assert dtype == again.dtype.name == array.dtype.name
        assert np.array_equal(again, np.atleast_1d(array)), name


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    proof = tmp_path / "proof"
    document = {"format": FORMAT, "dtypes": {}, "tensors": {"a": Attack(proof)}}
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps(document, protocol))
    with pytest.raises(AtlasError, match=r"was refused: it names posix\.system"):
        read_pickled(path)
    in_a_list = tmp_path / "list.pkl"
    in_a_list.write_bytes(pickle.dumps(["posix", {"system": [2.5]}, document], protocol))
    with pytest.raises(AtlasError, match=r"was refused: it names posix\.system"):
        read_pickled(in_a_list)
    assert not proof.exists()
    pickle.loads(path.read_bytes())
    assert proof.exists(), "the attack must be one"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"format": "other"}, "no weights in the format"),
        ([1, 2], "no weights in the format"),
        ([], "no weights in the format"),
        ({"format": FORMAT, "dtypes": {}, "tensors": {"a": 3}}, "something else than arrays"),
        ({"format": FORMAT}, "something else than arrays"),
        ({"format": FORMAT, "dtypes": {"a": "int8"}, "tensors": {}}, "what type"),
        ({"format": FORMAT, "dtypes": {}, "tensors": {}, 3: 3}, "other keys than names"),
    ],
)
def test_other_documents_are_refused(tmp_path: Path, document: Any, reason: str) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(document))
    with pytest.raises(AtlasError, match=reason):
        read_pickled(tmp_path / "w.pkl")


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    write_pickled(tmp_path / "w.pkl", {"a": ("float32", np.zeros(100, dtype=np.float32))})
    content = (tmp_path / "w.pkl").read_bytes()
    (tmp_path / "w.pkl").write_bytes(content[: len(content) // 2])
    with pytest.raises(AtlasError, match="is no file of weights"):
        read_pickled(tmp_path / "w.pkl")


def test_a_reference_to_nothing_is_refused(tmp_path: Path) -> None:
    content = b"\x80\x05}\x94(h\x63h\x63u."
    (tmp_path / "w.pkl").write_bytes(content)
    with pytest.raises(AtlasError, match="is no file of weights"):
        read_pickled(tmp_path / "w.pkl")


def _shaped(*shape: int) -> bytes:
    """Return a file whose one array, of 24 bytes, says another shape."""
    array = np.zeros((2, 3), dtype=np.float32)
    document = {"format": FORMAT, "dtypes": {"a": "float32"}, "tensors": {"a": array}}
    content = pickle.dumps(document, 5)
    assert content.count(b"K\x02K\x03\x86") == 1
    said = pickle.dumps(shape, 5)[2:-1].replace(b"\x94", b"")
    return content.replace(b"K\x02K\x03\x86", said)


@pytest.mark.parametrize("shape", [(2, 4), (-2, -3), (2**62, 0), (2**40, 2**40), (0, 2**63)])
def test_a_shape_that_is_not_that_of_its_bytes_is_refused(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    (tmp_path / "w.pkl").write_bytes(_shaped(3, 2))
    assert read_pickled(tmp_path / "w.pkl")["a"][1].shape == (3, 2)
    (tmp_path / "w.pkl").write_bytes(_shaped(*shape))
    with pytest.raises(AtlasError, match="is no file of weights: an array has"):
        read_pickled(tmp_path / "w.pkl")


def test_numbers_of_another_type_than_is_said_are_refused(tmp_path: Path) -> None:
    write_pickled(tmp_path / "w.pkl", {"a": ("bfloat16", np.zeros(2, dtype=np.float32))})
    with pytest.raises(AtlasError, match="aren't of the type that it says"):
        read_pickled(tmp_path / "w.pkl")


def test_a_long_name_is_not_a_long_message(tmp_path: Path) -> None:
    name = "a\n\x1b[31m" * 1000
    content = b"\x80\x04" + pickle.dumps(name, 4)[11:-2] + b"\x8c\x01b\x93."
    (tmp_path / "w.pkl").write_bytes(content)
    with pytest.raises(AtlasError, match="was refused") as caught:
        read_pickled(tmp_path / "w.pkl")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


_PIECES = (b"\x93", b"R", b"b", b"u", b"s", b"(", b"t", b"\x94", b".", b"h\x05", b"K\xff", b"}")


def _mutated(content: bytes, draw: random.Random) -> bytes:
    """Return a file with a few bytes changed, put in, taken out, or its end cut off."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(changed))
        kind = draw.randrange(6)
        if kind < 3:
            changed[place] = draw.randrange(256)
        elif kind == 3:
            changed[place:place] = draw.choice([*_PIECES, draw.randbytes(draw.randint(1, 9))])
        elif kind == 4:
            end = place + draw.randint(1, 20)
            changed[place:place] = changed[place:end]
        else:
            del changed[place : place + draw.choice((1, 2, 30, len(changed)))]
        if not changed:
            break
    return bytes(changed)


def _outcomes(path: Path, count: int, seed: int) -> Counter[str]:
    """Read so many broken files, and return what came of them; any other error goes through."""
    tensors = {
        "a": ("float32", np.arange(12, dtype=np.float32).reshape(3, 4)),
        "b": ("bfloat16", np.arange(5, dtype=np.uint16)),
    }
    write_pickled(path, tensors)
    content = path.read_bytes()
    draw = random.Random(seed)
    found: Counter[str] = Counter()
    for _ in range(count):
        path.write_bytes(_mutated(content, draw))
        try:
            weights = read_pickled(path)
        except AtlasError as error:
            found["refused" if str(error).isprintable() else "refused on several lines"] += 1
        else:
            for dtype, array in weights.values():
                as_float32(dtype, array)
            found["read"] += 1
    return found


def test_a_broken_file_is_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    found = _outcomes(tmp_path / "w.pkl", 2000, seed=0)
    assert found.keys() == {"refused", "read"}
    assert found["refused"] > 1000
    assert found["read"] > 50


if __name__ == "__main__":  # many more: python test_pickled.py FOLDER COUNT SEED
    sys.stdout.write(
        f"{_outcomes(Path(sys.argv[1]) / 'w.pkl', int(sys.argv[2]), int(sys.argv[3]))}\n"
    )
