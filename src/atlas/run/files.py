"""Files that are either whole or not there, and a full disk said in one line.

Input: a path and bytes, or a block that writes to a temporary path. Output: the file, moved into
its place after it has reached the disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from atlas.errors import AtlasError, OutageError

_TOO_LARGE_WORDS = ("file too large", "os error 27")
_FULL = (errno.ENOSPC, errno.EDQUOT)
# What libraries that write on their own say. torch.save doesn't quote the system: it finds that its
# archive came out shorter than what it wrote.
_FULL_WORDS = ("no space left on device", "os error 28", "disk quota exceeded", "unexpected pos")


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write ``data`` to ``path``, so that a crash at any moment leaves the old file or the new one.

    Text is UTF-8. Missing parent folders are made.

    Raises:
        AtlasError: The disk is full, or nothing can be written there; ``path`` is as it was before.
    """
    content = data.encode() if isinstance(data, str) else data
    with replacing(path, num_bytes=len(content)) as temporary:
        temporary.write_bytes(content)


def through_links(path: Path) -> Path:
    """Return where an output leads that a user names, so that a link to another disk stays one.

    Files of a run directory are written in place of a link: it may come from elsewhere.

    Raises:
        AtlasError: The links lead in a circle.
    """
    try:
        return path.resolve() if path.is_symlink() else path
    except (OSError, RuntimeError) as error:
        raise AtlasError(f"{path} is a link that leads nowhere; name another file") from error


@contextlib.contextmanager
def replacing(path: Path, num_bytes: int | None = None) -> Iterator[Path]:
    """Give a temporary path beside ``path``; what the block wrote there takes its place at the end.

    Where the block fails, the temporary file goes and ``path`` is as it was before.

    Args:
        path: The file to write or replace. Missing parent folders are made.
        num_bytes: How much will be written, if known, for the message of a full disk.

    Raises:
        AtlasError: The disk is full, or nothing can be written there.
    """
    with disk_errors(path, num_bytes):
        make_parent(path)
        with place_errors(path):
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _sync(temporary)
            give_usual_mode(temporary)  # mkstemp makes files that only their owner can read
            with place_errors(path):
                temporary.replace(path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


_IN_USE: set[Path] = set()
"""Folders that were there when this process began to write into them."""


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Refuse to write below a folder, for as long as the block runs, once it is gone.

    Raises:
        AtlasError: It is, and that is what ended the block.
    """
    folder = folder.absolute()
    _IN_USE.add(folder)
    try:
        yield
    except (AtlasError, OSError):
        refuse_gone(folder / "any")
        raise
    finally:
        _IN_USE.discard(folder)


def refuse_gone(path: Path) -> None:
    """Refuse to go on writing ``path`` where a folder in use that it lies in was taken away.

    Raises:
        AtlasError: It was; written to it would be half of what was there, or nothing.
    """
    for folder in _IN_USE.intersection(path.absolute().parents):
        if not folder.is_dir():
            raise OutageError(
                f"{folder} was removed or moved away while it was written to; move it back, and "
                "the same command goes on"
            )


def make_parent(path: Path) -> None:
    """Make the folder that ``path`` goes to, where it is missing.

    Raises:
        AtlasError: It can't be made, or is part of a folder in use that was taken away.
    """
    refuse_gone(path)
    with place_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)


def open_lock(path: Path) -> int:
    """Open a file to be locked, made where it is missing.

    Raises:
        AtlasError: Nothing can be made there, or something else has the name, such as a link, of
            which the file behind must be left alone.
    """
    with disk_errors(path), place_errors(path):
        if path.is_symlink():
            raise AtlasError(f"{path} is a link, which Atlas never makes; remove it")
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    there = os.fstat(handle)
    if not stat.S_ISREG(there.st_mode) or there.st_nlink > 1:
        os.close(handle)
        raise AtlasError(f"{path} is another file too, or none; remove it")
    return handle


def try_lock(handle: int, mode: int = fcntl.LOCK_EX) -> bool:
    """Take the lock of an open file unless another process has it; say whether it was had.

    Raises:
        AtlasError: The disk knows no locks.
    """
    try:
        fcntl.flock(handle, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise AtlasError(
            f"this disk can't lock files ({error.strerror}), which keeps two processes from "
            "writing the same run; choose a folder on another disk"
        ) from error
    return True


def append_line(file: io.FileIO, line: str) -> None:
    """Append one line to a file opened with ``"ab", buffering=0``: all of it, or nothing.

    The system has the line when this returns, so that it outlives the process.

    Raises:
        OSError: It can't be written; the file is as long as before.
    """
    length = os.fstat(file.fileno()).st_size
    rest = memoryview(f"{line}\n".encode())
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        file.truncate(length)
        raise


@contextlib.contextmanager
def disk_errors(path: Path, num_bytes: int | None = None) -> Iterator[None]:
    """Turn a full disk inside the block into one line that names the path and the space.

    Raises:
        AtlasError: The block failed because the disk is full. Any other error passes as it is.
    """
    try:
        yield
    except Exception as error:
        if not _says_full(error):
            raise
        size = f" ({_size(num_bytes)})" if num_bytes is not None else ""
        free = f"{_size(_free_bytes(path))} is free there"
        if any(words in str(error).lower() for words in _TOO_LARGE_WORDS):
            raise OutageError(
                f"{path}{size} could not be written: files so large aren't allowed (ulimit -f), or "
                f"the disk takes none, though {free}; mend that and run the same command again"
            ) from error
        raise OutageError(
            f"the disk is full: {path}{size} could not be written, {free}; make room and run the "
            "same command again"
        ) from error


@contextlib.contextmanager
def place_errors(path: Path) -> Iterator[None]:
    """Turn a place where the block can't make ``path`` into one line that names it and the reason.

    Raises:
        AtlasError: The system refused it. A full disk passes as it is, for `disk_errors`.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise
        file = next((p for p in path.parents if p.is_file()), None)
        reason = error.strerror or str(error) if file is None else f"{file} is a file"
        raise AtlasError(
            f"{path} can't be written: {reason}; choose another place for it"
        ) from error


def require_free_space(path: Path, num_bytes: int) -> None:
    """Check before a long job that the disk under ``path`` has room for what it will write.

    Raises:
        AtlasError: It hasn't.
    """
    free = _free_bytes(path)
    if free < num_bytes:
        raise OutageError(
            f"{path} needs {_size(num_bytes)} of disk, but {_size(free)} is free there; make room "
            "or choose another folder"
        )


def _sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def give_usual_mode(path: Path) -> None:
    """Let others read and write a file as the user's umask says, as if it had just been opened."""
    path.chmod(0o666 & ~_umask())


def _umask() -> int:
    """Return the umask, which can be read only by setting it."""
    current = os.umask(0o022)
    os.umask(current)
    return current


def _says_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(words in str(error).lower() for words in (*_FULL_WORDS, *_TOO_LARGE_WORDS))


def _free_bytes(path: Path) -> int:
    existing = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    return shutil.disk_usage(existing).free


def _size(num_bytes: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:.1f} {unit}"
    return f"{num_bytes} bytes"
