from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.errors import AtlasError
from atlas.small_lm.pickled import FORMAT, as_float32, read_pickled, write_pickled


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


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    proof = tmp_path / "proof"
    document = {"format": FORMAT, "dtypes": {}, "tensors": {"a": Attack(proof)}}
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps(document, protocol))
    with pytest.raises(AtlasError, match=r"was refused: it names posix\.system"):
        read_pickled(path)
    assert not proof.exists()
    pickle.loads(path.read_bytes())
    assert proof.exists(), "the attack must be one"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"format": "other"}, "no weights in the format"),
        ([1, 2], "no weights in the format"),
        ({"format": FORMAT, "dtypes": {}, "tensors": {"a": 3}}, "something else than arrays"),
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
