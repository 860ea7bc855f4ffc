"""``model_weights.pkl``: weights as NumPy arrays, in a pickle that is read without unpickling.

A pickle is a program for a small stack machine, and loading one runs it. `read_pickled` doesn't
load it. It goes through the opcodes one by one (`pickletools.genops`, which runs nothing), does
those itself that `write_pickled` writes, and refuses every other; what the file calls NumPy's
functions by name are two functions below, which check what they are given. What that guarantees of
any file, broken or made to do harm: nothing in it is imported or called, no code of NumPy sees
other arguments than a buffer with the type and shape that fit it, no more memory is taken than the
file is long (the largest array twice), and what comes out is arrays of numbers under names, or an
`AtlasError` of one line. It doesn't guarantee that the numbers are those that were written: for
that, compare the SHA-256 in ``manifest.json``.

The weights of record are in ``model.safetensors``; this file is for whoever asks for it by name,
and for running the model without PyTorch (`numpy_llama`).
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np
from numpy.typing import NDArray

from atlas.errors import AtlasError, one_line
from atlas.run.files import replacing

WEIGHTS: Final = "model_weights.pkl"
FORMAT: Final = "atlas.weights/1"
BFLOAT16: Final = "bfloat16"
"""NumPy has no such type: its 16 bits are kept as unsigned integers, under this name."""

Array = NDArray[Any]


def write_pickled(path: Path, tensors: Mapping[str, tuple[str, Array]]) -> None:
    """Write weights, whole or not at all.

    Args:
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
    """Read what `write_pickled` wrote; nothing in the file is run.

    Raises:
        AtlasError: The file can't be read, names anything but NumPy arrays, or holds something
            else than weights.
    """
    try:
        with Path(path).open("rb") as file:
            return _weights(_read(file, path), path)
    except OSError as error:
        raise AtlasError(f"{path} can't be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise AtlasError(f"{path} doesn't fit into memory") from error
    except (ValueError, TypeError, LookupError) as error:
        raise AtlasError(f"{path} is no file of weights: {one_line(error)}") from error


def as_float32(dtype: str, array: Array) -> NDArray[np.float32]:
    """Return numbers of any of the types as float32."""
    if dtype == BFLOAT16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


def _weights(document: object, path: str | Path) -> dict[str, tuple[str, Array]]:
    kind = document.get("format") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(kind, str) or kind != FORMAT:
        raise AtlasError(f"{path} holds no weights in the format {FORMAT}")
    dtypes, tensors = document.get("dtypes"), document.get("tensors")
    if not isinstance(tensors, dict) or not all(map(_is_array, tensors.values())):
        raise AtlasError(f"{path} holds something else than arrays of numbers")
    if not isinstance(dtypes, dict) or dtypes.keys() != tensors.keys():
        raise AtlasError(f"{path} doesn't say of each array what type its numbers have")
    for name, array in tensors.items():
        said = dtypes[name]
        if not isinstance(said, str) or array.dtype.name != _KEPT_AS.get(said, said):
            raise AtlasError(f"{path}: the numbers of an array aren't of the type that it says")
    return {name: (dtypes[name], array) for name, array in tensors.items()}


_KEPT_AS: Final = {BFLOAT16: "uint16"}


def _is_array(thing: object) -> bool:
    return isinstance(thing, np.ndarray)


def _read(file: BinaryIO, path: str | Path) -> object:
    """Return the document of a pickle.

    Raises:
        AtlasError: It has an opcode or a name that `write_pickled` doesn't write.
        ValueError: It is broken; so are a TypeError and a LookupError to be understood.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in _genops(file):
            machine.step(opcode.name, argument)
    except _ForeignError as foreign:
        named = foreign.named or _named_in(file)
        if named is None:
            reason = f"opcode {foreign.opcode} is none of them"
            raise AtlasError(f"{path} holds no weights in the format {FORMAT}: {reason}") from None
        raise AtlasError(
            f"{path} was refused: it names {one_line(named)}, and a file of weights holds "
            "arrays only; load model.safetensors, or ask where the file is from"
        ) from None
    return machine.result()


class _ForeignError(Exception):
    """A pickle has an opcode, or names something, that isn't in a file of weights."""

    def __init__(self, opcode: str, named: str | None = None) -> None:
        super().__init__(opcode)
        self.opcode = opcode
        self.named = named


_MARK: Final = object()
_LITERALS: Final = frozenset(
    {
        *("SHORT_BINUNICODE", "BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"),
        *("BYTEARRAY8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
    }
)
_CONSTANTS: Final = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK}
_NOTHING: Final = frozenset({"PROTO", "FRAME", "STOP"})


class _Machine:
    """Does the opcodes of a file of weights, on a stack of its own."""

    def __init__(self) -> None:
        self._stack: list[object] = []
        self._memo: list[object] = []

    def step(self, name: str, argument: Any) -> None:
        """Do one opcode.

        Raises:
            _ForeignError: It is none that `write_pickled` writes, or names something.
            ValueError: It can't be done; so are a TypeError and a LookupError to be understood.
        """
        if name in _NOTHING:
            return
        if name == "MEMOIZE":
            self._memo.append(self._stack[-1])
        elif name == "BUILD":
            dtype, state = self._popped(2)
            self._stack.append(_checked(dtype, state))
        elif name in ("SETITEM", "SETITEMS"):
            self._put(self._popped(2 if name == "SETITEM" else None))
        else:
            self._stack.append(self._made(name, argument))

    def _made(self, name: str, argument: Any) -> object:
        """Return what an opcode puts on the stack."""
        if name in _LITERALS:
            return argument
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        if name in ("BINGET", "LONG_BINGET"):
            return self._memo[argument]
        if name == "EMPTY_DICT":
            return {}
        if name not in _MAKERS:
            raise _ForeignError(name)
        num_taken, make = _MAKERS[name]
        return make(self._popped(num_taken))

    def result(self) -> object:
        """Return what the opcodes left on the stack.

        Raises:
            ValueError: That isn't one thing.
        """
        (document,) = self._stack
        return document

    def _popped(self, count: int | None) -> tuple[object, ...]:
        """Return the last items of the stack and take them from it; None: down to the mark."""
        items: list[object] = []
        while len(items) != count:
            item = self._stack.pop()
            if item is _MARK:
                break
            items.append(item)
        if count not in (None, len(items)):
            raise ValueError("an opcode has too few arguments")
        return tuple(reversed(items))

    def _put(self, items: tuple[object, ...]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or not all(isinstance(key, str) for key in items[::2]):
            raise ValueError("a dictionary has other keys than names")
        target.update(zip(items[::2], items[1::2], strict=True))


_DTYPES: Final = {
    f"{kind}{size}": np.dtype(f"<{kind}{size}")
    for kind, sizes in {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "b": (1,)}.items()
    for size in sizes
}
_MOST_AXES: Final = 32


def _dtype(code: object, align: object, copy: object) -> np.dtype[Any]:
    """Return a plain type of numbers; stands for ``numpy.dtype``."""
    if not isinstance(code, str) or code not in _DTYPES or (align, copy) != (False, True):
        raise ValueError("a type is none of plain numbers")
    return _DTYPES[code]


def _array(buffer: object, dtype: object, shape: object, order: object) -> Array:
    """Return a buffer as an array, without a copy; stands for NumPy's ``_frombuffer``."""
    if not isinstance(buffer, bytes | bytearray) or not isinstance(dtype, np.dtype) or order != "C":
        raise ValueError("an array is made of something else than numbers in rows")
    if not isinstance(shape, tuple) or len(shape) > _MOST_AXES:
        raise ValueError("an array has no shape")
    sizes = cast("tuple[int, ...]", shape)
    if not all(type(size) is int and 0 <= size < 2**62 for size in sizes):
        raise ValueError("an array has no shape")
    if math.prod(sizes) * dtype.itemsize != len(buffer):
        raise ValueError("an array has another number of bytes than its shape says")
    return np.frombuffer(buffer, dtype=dtype).reshape(sizes)


def _checked(dtype: object, state: object) -> object:
    """Return a type, of which a file says the order of its bytes, and nothing more."""
    order = "<" if isinstance(dtype, np.dtype) and dtype.itemsize > 1 else "|"
    if not isinstance(dtype, np.dtype) or state != (3, order, None, None, None, -1, -1, 0):
        raise ValueError("a type is none of plain numbers with their low bytes first")
    return dtype


_FUNCTIONS: Final = {
    ("numpy", "dtype"): _dtype,
    ("numpy._core.numeric", "_frombuffer"): _array,
    ("numpy.core.numeric", "_frombuffer"): _array,
}


def _named(names: tuple[object, ...]) -> object:
    """Return the function that stands for a module and a name in it.

    Raises:
        _ForeignError: The file names another; it is not imported.
    """
    module, name = names
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("a name is none")
    if (module, name) not in _FUNCTIONS:
        raise _ForeignError("STACK_GLOBAL", f"{module}.{name}")
    return _FUNCTIONS[module, name]


def _called(call: tuple[object, ...]) -> object:
    function, arguments = call
    if not isinstance(arguments, tuple):
        raise ValueError("a call has no arguments")
    if function is _dtype:
        return _dtype(*arguments)
    if function is _array:
        return _array(*arguments)
    raise ValueError("something is called that is no function")


_MAKERS: Final[Mapping[str, tuple[int | None, Callable[[tuple[object, ...]], object]]]] = {
    "TUPLE1": (1, tuple),
    "TUPLE2": (2, tuple),
    "TUPLE3": (3, tuple),
    "TUPLE": (None, tuple),
    "STACK_GLOBAL": (2, _named),
    "REDUCE": (2, _called),
}
"""Opcode -> how many things it takes from the stack (None: down to the mark), and what it makes."""


class _Bounded(io.RawIOBase):
    """A file that is never asked for more than it has.

    A length that is written in a file can be anything, and `read` takes the memory for it first.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._end = file.seek(0, io.SEEK_END)
        file.seek(0)

    def read(self, size: int = -1, /) -> bytes:
        if size > self._end - self._file.tell():
            raise ValueError("it breaks off")
        return self._file.read(size)

    def readline(self, size: int | None = -1, /) -> bytes:
        return self._file.readline(-1 if size is None else size)

    def tell(self) -> int:
        return self._file.tell()


def _genops(file: BinaryIO) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]:
    return pickletools.genops(cast("BinaryIO", _Bounded(file)))


def _named_in(file: BinaryIO) -> str | None:
    """Return the first name, other than those of arrays, in any pickle; None where there is none.

    It is for the message only: the file is refused already. All that it needs to know of an opcode
    is how many things it takes from the stack and puts there.
    """
    stack: list[object] = []
    memo: dict[object, object] = {}
    try:
        for opcode, argument, _ in _genops(file):
            taken = _taken(stack, opcode)
            given: object = argument
            if opcode.name == "MEMOIZE":
                memo[len(memo)] = given = taken[0]
            elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
                memo[argument] = stack[-1]
            elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
                given = memo[argument]
            elif opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL"):
                names = taken if opcode.name == "STACK_GLOBAL" else argument.split(" ", 1)
                if tuple(names) not in _FUNCTIONS:
                    return ".".join(cast("list[str]", names))
            is_mark = opcode.stack_after == [pickletools.markobject]
            stack += [_MARK if is_mark else given for _ in opcode.stack_after]
    except (ValueError, TypeError, LookupError):
        pass  # a broken file, which is refused without a name
    return None


def _taken(stack: list[object], opcode: pickletools.OpcodeInfo) -> list[object]:
    """Return what an opcode takes from the stack, and take it."""
    taken: list[object] = []
    before = list(opcode.stack_before)
    if pickletools.markobject in before:
        while (item := stack.pop()) is not _MARK:
            taken.append(item)
        before = before[: before.index(pickletools.markobject)]
    taken += [stack.pop() for _ in before]
    return taken[::-1]
