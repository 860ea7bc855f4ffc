"""Limits of containers, in folders that look like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.machine.cgroup import cgroup_room
from atlas.planning import memory_plan


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def test_the_tightest_group_around_a_process_counts(tmp_path: Path) -> None:
    root, ours = tmp_path / "cgroup", tmp_path / "self"
    ours.write_text("0::/slice/job\n")
    stat = {"memory__stat": "anon 5\ninactive_file 20"}
    write(root / "slice/job", memory__max="max", memory__current="70", **stat)
    assert cgroup_room(root, ours) is None
    write(root / "slice", memory__max="100", memory__current="70", **stat)
    assert cgroup_room(root, ours) == 100 - 70 + 20
    # In a container the limit is at the root that it sees.
    write(root, memory__max="60", memory__current="70", **stat)
    assert cgroup_room(root, ours) == 10


def test_the_first_version_is_read_too(tmp_path: Path) -> None:
    root, ours = tmp_path / "cgroup", tmp_path / "self"
    ours.write_text("8:pids:/\n4:cpu,memory:/job\n0::/\n")
    write(
        root / "memory/job",
        memory__limit_in_bytes="1000",
        memory__usage_in_bytes="400",
        memory__stat="inactive_file 1\ntotal_inactive_file 50",
    )
    assert cgroup_room(root, ours) == 650


def test_where_there_are_no_groups_nothing_limits(tmp_path: Path) -> None:
    assert cgroup_room(tmp_path, tmp_path / "none") is None
    (tmp_path / "self").write_text("0::/\n")
    assert cgroup_room(tmp_path, tmp_path / "self") is None


@pytest.mark.parametrize(("room", "where"), [(1, "this container's"), (2**60, "this machine's")])
def test_a_container_s_limit_is_the_plan_s(
    monkeypatch: pytest.MonkeyPatch, room: int, where: str
) -> None:
    monkeypatch.setattr(memory_plan, "cgroup_room", lambda: room)
    limit, said = memory_plan.memory_limit()
    assert where in said
    assert limit <= room
