"""``model_weights.pkl``: weights as plain NumPy arrays, read by an unpickler that knows no code.

A pickle is a program, and loading one runs it. What is written here is a dictionary of arrays, and
what is read may be nothing else: every other name in the file is refused before it is looked up.
The weights of record are in ``model.safetensors``; this file is for whoever asks for it by name,
and for running the model without PyTorch (`numpy_llama`).
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from atlas.errors import AtlasError
from atlas.runtime.files import replacing

WEIGHTS: Final = "model_weights.pkl"
FORMAT: Final = "atlas.weights/1"
BFLOAT16: Final = "bfloat16"
"""NumPy has no such type: its 16 bits are kept as unsigned integers, under this name."""

_ALLOWED: Final = frozenset(
    {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.numeric", "_frombuffer"),
        ("numpy.core.numeric", "_frombuffer"),
    }
)

Array = NDArray[Any]


def write_pickled(path: Path, tensors: Mapping[str, tuple[str, Array]]) -> None:
    """Write weights, whole or not at all.

    Args:
        path: The file.
        tensors: Name -> name of the type (``float32``, ``bfloat16``) and the numbers; bfloat16 as
            its bits in uint16.

    Raises:
        AtlasError: The disk is full.
    """
    document = {
        "format": FORMAT,
        "dtypes": {name: dtype for name, (dtype, _) in tensors.items()},
        "tensors": {name: np.ascontiguousarray(array) for name, (_, array) in tensors.items()},
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        pickle.dump(document, file, protocol=5)


def read_pickled(path: str | Path) -> dict[str, tuple[str, Array]]:
    """Read what `write_pickled` wrote; nothing in the file can run code.

    Raises:
        AtlasError: The file can't be read, names anything but NumPy arrays, or holds something
            else than weights.
    """
    try:
        with Path(path).open("rb") as file:
            document = _ArraysOnly(file, path).load()
    except OSError as error:
        raise AtlasError(f"{path} can't be read: {error.strerror}") from error
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise AtlasError(f"{path} is no file of weights: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise AtlasError(f"{path} holds no weights in the format {FORMAT}")
    dtypes, tensors = document["dtypes"], document["tensors"]
    if not all(isinstance(a, np.ndarray) and a.dtype != object for a in tensors.values()):
        raise AtlasError(f"{path} holds something else than arrays of numbers")
    return {name: (dtypes[name], array) for name, array in tensors.items()}


def as_float32(dtype: str, array: Array) -> NDArray[np.float32]:
    """Return numbers of any of the types as float32."""
    if dtype == BFLOAT16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that makes arrays and what Python writes literally, and nothing else."""

    def __init__(self, file: BinaryIO, path: str | Path) -> None:
        super().__init__(file)
        self._path = path

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Return one of the allowed names.

        Raises:
            AtlasError: The file names another; it is not imported.
        """
        if (module_name, global_name) not in _ALLOWED:
            raise AtlasError(
                f"{self._path} was refused: it names {module_name}.{global_name}, and a file of "
                "weights holds arrays only; load model.safetensors, or ask where the file is from"
            )
        return super().find_class(module_name, global_name)
