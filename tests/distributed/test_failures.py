"""What ends a training of two processes, and that the same command then goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.test_training_commands import sessions

sys.path.insert(0, str(Path(__file__).parent))
from started import ROOT, TASKS, Started, has_step, wait_for

from atlas.traces.jsonl import write_jsonl


def test_stopped_killed_and_gone_on_with(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "traces.jsonl", sessions())
    run = tmp_path / "grpo"
    command = [
        *("scripts/launch.sh", "2", "configs/run/teacher_rcl.yaml", *TASKS),
        *(f"export_path={tmp_path / 'traces.jsonl'}", f"output_dir={run}"),
    ]
    first = Started(command)
    wait_for(has_step(run, 1), [first])
    os.kill(first.pid, signal.SIGINT)
    code, said, complained = first.end()
    assert code == 130, complained
    assert "Stopped. The same command goes on" in said
    done = newest_step(run / "checkpoints")

    second = Started(command)
    wait_for(has_step(run, done + 1), [second])
    second.rank(1).kill()
    code, _, complained = second.end()
    assert code == 3
    assert "atlas: rank 1 was killed (SIGKILL)" in complained.splitlines()

    code, said, complained = Started(command).end()
    assert code == 0, complained
    assert "grpo: 14 steps on" in said
    assert (run / "training.log").read_text().count("go on after step") == 2


def newest_step(checkpoints: Path) -> int:
    """The last step that was saved; a fast machine may have passed a regular saving too."""
    return max(int(saved.name.removeprefix("step_")) for saved in checkpoints.glob("step_*"))


HANGING = """
import sys, time
from atlas.errors import AtlasError
from atlas.parallel.distributed import joined
with joined(timeout=float(sys.argv[1])) as ranks:
    ranks.meet("the beginning")
    if ranks.rank == 1:
        time.sleep(float(sys.argv[2]))
    try:
        ranks.gather(ranks.rank, "rollouts of step 3")
    except AtlasError as error:
        print(f"rank {ranks.rank} says: {error}", flush=True)
        time.sleep(float(sys.argv[2]))
    sys.exit()
"""


@pytest.mark.parametrize(("timeout", "sleep"), [(2, 5)])
def test_a_rank_that_hangs_is_named_with_the_phase(timeout: float, sleep: float) -> None:
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("--no-python", sys.executable, "-c", HANGING, str(timeout), str(sleep)),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    (line,) = (text for text in done.stdout.splitlines() if text.startswith("rank 0 says"))
    assert "rank 0 of 2 lost the others at 'rollouts of step 3'" in line, done.stderr
    assert "phase_timeout=2 seconds" in line
    assert "1" in line.partition("step 3':")[2].partition("One of them")[0]
