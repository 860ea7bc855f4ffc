from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from atlas.errors import AtlasError, OutageError
from atlas.run.files import (
    append_line,
    disk_errors,
    in_use,
    replacing,
    require_free_space,
    through_links,
    write_atomic,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_atomic_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_atomic(path, "old")
    write_atomic(path, "new é".encode())
    assert path.read_text(encoding="utf-8") == "new é"
    assert names(path.parent) == ["b.txt"]


def test_the_users_umask_decides_who_may_read(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("/proc/nosuch/a/b.txt", "No such file or directory"),
        ("{folder}/file/b.txt", "{folder}/file is a file"),
        ("{folder}/file/a/b.txt", "{folder}/file is a file"),
        ("{folder}/taken", "Is a directory"),
    ],
)
def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, place: str, reason: str) -> None:
    (tmp_path / "file").write_text("there")
    (tmp_path / "taken").mkdir()
    path, reason = (text.format(folder=tmp_path) for text in (place, reason))
    with pytest.raises(AtlasError) as caught:
        write_atomic(Path(path), "x")
    assert str(caught.value) == f"{path} can't be written: {reason}; choose another place for it"
    assert names(tmp_path) == ["file", "taken"]
    assert (tmp_path / "file").read_text() == "there"


def test_a_disk_too_full_for_a_new_file_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(AtlasError, match="the disk is full"):
        write_atomic(tmp_path / "a", "x")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    write_atomic(path, "old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    message = r"the disk is full: .*metrics.jsonl \(2.0 kB\) could not be written, .* is free there"
    with pytest.raises(AtlasError, match=message):
        write_atomic(path, "x" * 2000)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["metrics.jsonl"]


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    write_atomic(path, "old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["model.bin"]


def test_the_systems_own_full_disk_is_recognised() -> None:
    with (
        pytest.raises(AtlasError, match="the disk is full: /dev/full could not be written"),
        disk_errors(Path("/dev/full")),
        Path("/dev/full").open("w") as file,
    ):
        file.write("x")


def test_a_line_is_appended_whole_or_not_at_all(tmp_path: Path) -> None:
    """The system's limit on a file's size stops a write in the middle, as a full disk does."""
    path = tmp_path / "metrics.jsonl"
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with path.open("ab", buffering=0) as file:
            append_line(file, "first")
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
            with pytest.raises(OSError, match="File too large"):
                append_line(file, "second")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_text() == "first\n"


@pytest.mark.parametrize(
    "words",
    [
        "I/O error: No space left on device (os error 28)",
        "[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598",
    ],
    ids=["safetensors", "torch"],
)
def test_a_full_disk_in_a_librarys_words_is_recognised(tmp_path: Path, words: str) -> None:
    with pytest.raises(AtlasError, match="the disk is full"), disk_errors(tmp_path):
        raise RuntimeError(words)


def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), disk_errors(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_require_free_space_says_how_much_is_needed_and_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3_000_000))
    require_free_space(tmp_path / "not" / "there", 3_000_000)
    with pytest.raises(AtlasError, match=r"there needs 4.0 GB of disk, but 3.0 MB is free"):
        require_free_space(tmp_path / "not" / "there", 4_000_000_000)


def test_an_output_that_is_a_link_is_written_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "out").symlink_to("big/out")
    assert through_links(tmp_path / "out") == tmp_path / "big" / "out"
    assert through_links(tmp_path / "plain") == tmp_path / "plain"
    write_atomic(through_links(tmp_path / "out"), "new")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "big" / "out").read_text() == "new"
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(AtlasError, match="circle is a link that leads nowhere"):
        through_links(tmp_path / "circle")


def test_a_file_that_may_be_no_longer_is_told_apart_from_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "file"
    said = r"file could not be written: files so large.*ulimit -f"
    with pytest.raises(OutageError, match=said), disk_errors(path):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))


def test_a_folder_in_use_that_is_taken_away_is_not_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with in_use(folder):
        write_atomic(folder / "sub" / "a", "whole")
    gone = f"{folder} was removed or moved away"

    def lose(write: Callable[[Path, str], object]) -> None:
        with in_use(folder):
            shutil.rmtree(folder)
            write(folder / "a", "half")

    for write in (write_atomic, Path.write_text):
        with pytest.raises(AtlasError, match=gone):
            lose(write)
        assert not folder.exists()
        folder.mkdir()
    write_atomic(folder / "a", "nobody uses it any more")
