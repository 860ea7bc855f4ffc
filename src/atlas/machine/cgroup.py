"""What the control groups of this process still let it take, as in a container.

Input: the files of the kernel. Output: bytes, or None where nothing limits it. A machine's free
memory is not what a container may take: beyond its limit the kernel kills without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OURS = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class _Version:
    """Where a version of control groups keeps what."""

    controller: str
    """In the line of ``/proc/self/cgroup`` that names the group."""
    folder: str
    """Under the mount."""
    limit: str
    taken: str
    unused: str
    """In ``memory.stat``: pages of files that nobody uses, which are given up first."""


_VERSIONS = (
    _Version("", "", "memory.max", "memory.current", "inactive_file"),
    _Version(
        "memory",
        "memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def cgroup_room(root: Path = _ROOT, ours: Path = _OURS) -> int | None:
    """Return how many bytes may still be taken; None without a limit.

    Args:
        ours: The file that names the groups of this process.
    """
    try:
        lines = ours.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    group_of: dict[str, str] = {}
    for line in lines:
        _, controllers, group = line.split(":", 2)
        group_of |= dict.fromkeys(controllers.split(","), group)
    rooms = [
        room
        for version in _VERSIONS
        if version.controller in group_of
        for group in _groups(root / version.folder, group_of[version.controller])
        if (room := _room(group, version)) is not None
    ]
    return min(rooms, default=None)


def _groups(root: Path, name: str) -> Iterator[Path]:
    """Yield a group and those around it; in a container the root is its own."""
    group = root / name.lstrip("/")
    while root in group.parents:
        yield group
        group = group.parent
    yield root


def _room(group: Path, version: _Version) -> int | None:
    try:
        limit = (group / version.limit).read_text(encoding="utf-8").strip()
        taken = int((group / version.taken).read_text(encoding="utf-8"))
        stat = (group / "memory.stat").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return None
    if not limit.isdecimal():
        return None
    unused = dict(zip(stat[::2], stat[1::2], strict=False)).get(version.unused, "0")
    return max(0, int(limit) - taken + int(unused))
