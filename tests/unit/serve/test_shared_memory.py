from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas.serve.shared_memory import SHM, leftovers, shared_files, wait_until_gone

MAPS = """
import mmap, os, sys
handle = os.open(sys.argv[1], os.O_RDWR)
if sys.argv[2] == "maps":
    mapped = mmap.mmap(handle, 4096)
    os.close(handle)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def file() -> Iterator[Path]:
    if not os.access(SHM, os.W_OK):
        pytest.skip("there is no /dev/shm here")
    path = SHM / f"atlas-test-{os.getpid()}"
    path.write_bytes(b"\0" * 4096)
    yield path
    path.unlink(missing_ok=True)


def user_of(file: Path, how: str) -> subprocess.Popen[bytes]:
    user = subprocess.Popen(
        [sys.executable, "-c", MAPS, str(file), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert user.stdout is not None
    assert user.stdout.readline() == b"ready\n"
    return user


@pytest.mark.parametrize("how", ["maps", "opens", "renamed"])
def test_what_a_group_uses_is_left_over_when_nobody_uses_it(file: Path, how: str) -> None:
    user, other = user_of(file, "opens" if how == "opens" else "maps"), user_of(file, "maps")
    if how == "renamed":
        os.link(file, f"{file}-linked")
        file.unlink()
        os.rename(f"{file}-linked", file)
    assert file in shared_files(user.pid)
    assert file not in shared_files(os.getpgrp())
    user.communicate()
    assert leftovers({file}) == []
    other.communicate()
    assert leftovers({file}) == [file]
    file.unlink()
    assert leftovers({file}) == []


def test_a_group_is_gone_when_its_last_process_is(file: Path) -> None:
    user = user_of(file, "maps")
    assert not wait_until_gone(user.pid, 0.05)
    assert user.stdin is not None
    user.stdin.close()
    # It isn't waited for, so it stays as a zombie, which holds nothing.
    assert wait_until_gone(user.pid, 30)
    user.wait()
