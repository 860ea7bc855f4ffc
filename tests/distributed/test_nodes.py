"""Two machines: a torchrun agent in a network namespace each, joined by a virtual cable."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.test_training_commands import sessions

sys.path.insert(0, str(Path(__file__).parent))
from started import TASKS, Started, has_step, wait_for

from atlas.traces.jsonl import write_jsonl


@dataclass(frozen=True, kw_only=True)
class Node:
    """A network namespace with one interface."""

    namespace: str
    interface: str
    address: str

    def run(self, rank: int, master: str, words: list[str]) -> Started:
        """Start the guide's command on this node."""
        agent = [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=1", "--nnodes=2"),
            *(f"--node_rank={rank}", f"--master_addr={master}", "train.py", *words),
        ]
        inside = ["ip", "netns", "exec", self.namespace, *agent]
        return Started(inside, GLOO_SOCKET_IFNAME=self.interface)

    def cut_off(self) -> None:
        """Kill everything on this node at once."""
        found = _ip("netns", "pids", self.namespace)
        for pid in map(int, found.split()):
            os.kill(pid, signal.SIGKILL)


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def nodes() -> Iterator[tuple[Node, Node]]:
    """Two nodes with a cable between them."""
    pid = os.getpid() % 100_000
    made = [
        Node(namespace=f"atlas{pid}{n}", interface=f"av{pid}{n}", address=f"10.213.7.{i}")
        for i, n in enumerate("ab", start=1)
    ]
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("network namespaces need root and the command ip")
    try:
        for node in made:
            _ip("netns", "add", node.namespace)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not allowed here: {error.stderr.strip()}")
    try:
        first, second = made
        _ip(
            *("link", "add", first.interface, "netns", first.namespace, "type", "veth"),
            *("peer", "name", second.interface, "netns", second.namespace),
        )
        for node in made:
            _ip("-n", node.namespace, "address", "add", f"{node.address}/24", "dev", node.interface)
            _ip("-n", node.namespace, "link", "set", node.interface, "up")
            _ip("-n", node.namespace, "link", "set", "lo", "up")
        yield first, second
    finally:
        for node in made:
            node.cut_off()
            _ip("netns", "delete", node.namespace)


def test_a_node_dies_the_other_says_so_and_a_restart_goes_on(
    tmp_path: Path, nodes: tuple[Node, Node]
) -> None:
    write_jsonl(tmp_path / "traces.jsonl", sessions())
    run = tmp_path / "grpo"
    words = [
        *("configs/run/teacher_rcl.yaml", *TASKS),
        *(f"export_path={tmp_path / 'traces.jsonl'}", f"output_dir={run}"),
    ]
    first, second = nodes

    def both() -> tuple[Started, Started]:
        return first.run(0, first.address, words), second.run(1, first.address, words)

    here, there = both()
    wait_for(has_step(run, 3), [here, there])
    second.cut_off()
    there.end()
    code, _, complained = here.end()
    assert code != 0
    (told,) = (text for text in complained.splitlines() if text.startswith("atlas: rank 0"))
    assert "rank 0 of 2 lost the others at '" in told
    assert "The same command goes on from the last checkpoint" in told

    here, there = both()
    code, said, complained = here.end()
    assert code == 0, complained
    assert there.end()[0] == 0
    assert "grpo: 14 steps on" in said
    assert "go on after step" in (run / "training.log").read_text()
