"""GRPO for thousands of steps while faults befall it: does it stay as small and as fast as it was?

    python benchmarks/endurance.py                        # 2,000 steps, 10 kills
    python benchmarks/endurance.py --steps 60 --kills 1   # shows that it runs

The base model teaches itself, rewarded by a judge on this machine too. At steps chosen by the seed,
between the first fifth and seven tenths of the run, the process is killed (SIGKILL) and
``atlas resume`` goes on, once the gradients are not finite, once the disk takes nothing more, and
once the judge is out of order. Before the table of each step's rollouts is written, memory, open
files and time are taken. Compared are medians: of the steps from a tenth to a fifth of the run,
after the warm-up, and of the last fifth. Times say little while something else runs.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.integration.test_training_commands import sessions
from tests.reliability.forks import KILLED, Fault, Forks
from tests.unit.endpoint.chat_server import Answer, ChatServer, error
from tests.unit.rewards.judge_server import agree

from atlas.traces.jsonl import write_jsonl

SAVE_STEPS, KEPT = 10, 2
FLAT = 0.05
CALLS_A_STEP, OUTAGE_CALLS, WINDOW = 8, 5, 10
COMMAND = (
    *("grpo", "teacher_rcl", "data=runtime_traces", "export_path=traces.jsonl", "output_dir=run"),
    *("model_name_or_path=base", "student_model=base", "results_dir=null", "learning_rate=1e-7"),
    *("num_generations=4", "per_device_train_batch_size=2", "gradient_accumulation_steps=1"),
    *("max_new_tokens=8", "student_max_new_tokens=8", "approach_max_new_tokens=4"),
    *("temperature=1", "mask_truncated_completions=false", "max_clipped_share=1"),
    *("rim_config=judges.yaml", "reward_judge_gated=false", "canary_tasks=4", "canary_steps=50"),
    *(f"save_steps={SAVE_STEPS}", f"save_total_limit={KEPT}"),
)
ROLLOUTS = r"open .*rollouts/\.step_"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A process as it was before the rollouts of one step were written."""

    pid: int
    time: float
    memory: int
    files: int
    sockets: int


@dataclass(frozen=True, kw_only=True)
class Endured:
    """What a run was like, and what it left."""

    samples: Sequence[Sample]
    """In the order of time: steps that were taken again are there again."""
    kills: int
    full_disks: int
    skipped: int
    outages: int
    steps: Sequence[int]
    """Of the lines of metrics."""
    checkpoints: Sequence[str]
    leftovers: Sequence[str]
    """Temporary files."""
    num_bytes: Mapping[str, int]
    """By what lies in the run directory."""


def endure(folder: Path, *, steps: int, kills: int, seed: int = 0) -> Endured:
    """Run, let faults happen, go on until the last step is done."""
    chosen = random.Random(seed)
    first, last = steps // 5, steps * 7 // 10
    fatal = [(chosen.randint(first, last), "SIGKILL") for _ in range(kills)]
    fatal += [(chosen.randint(first, last), "limit 0")]
    pending = sorted(dict(fatal).items())
    spoilt = Fault(do="nan", at=f"{ROLLOUTS}{steps // 6:06d}")
    out_of_order = range(first * CALLS_A_STEP, first * CALLS_A_STEP + OUTAGE_CALLS)
    write_jsonl(folder / "traces.jsonl", sessions())

    def answer(request: dict[str, Any], number: int) -> Answer:
        return error(503, "overloaded") if number in out_of_order else agree(request)

    found = {KILLED: 0, 3: 0}
    words: Sequence[str] = (*COMMAND, f"max_steps={steps}")
    with ChatServer(answer) as judge:
        (folder / "judges.yaml").write_text(json.dumps(judges(judge.url)))
        forks = Forks()
        while True:
            faults = [Fault(do=do, at=f"{ROLLOUTS}{step:06d}") for step, do in pending[:1]]
            ended = forks.run(folder, *words, faults=[*faults, spoilt], sample=ROLLOUTS)
            if ended.code == 0:
                break
            outcome = ended.signal or ended.code
            assert pending, (folder / "output.txt").read_text()
            assert outcome == (KILLED if pending[0][1] == "SIGKILL" else 3), outcome
            found[outcome] += 1
            pending = pending[1:]
            words = ("resume", "run")
        forks.close()
    return left(folder, kills=found[KILLED], full_disks=found[3])


def judges(url: str) -> Mapping[str, Any]:
    """Return the configuration of one judge that soon gives up."""
    return {
        "active_judges": {"process": True},
        "small": {"base_url": url, "model": "judge-model", "max_retries": 0},
        "temperatures": [0.2],
        "cache_path": None,
        "abstention_window": WINDOW,
    }


def left(folder: Path, **counts: int) -> Endured:
    """Return what a run in a folder left, with the counts of what befell it."""
    run = folder / "run"
    rows = [line.split() for line in (folder / "samples.txt").read_text().splitlines()]
    said = (run / "training.log").read_text() + (folder / "output.txt").read_text()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    hidden = [path for path in run.rglob(".*") if path.name not in (".lock",)]
    return Endured(
        samples=[
            Sample(
                pid=int(pid),
                time=float(seconds),
                memory=int(memory),
                files=int(files),
                sockets=int(sockets),
            )
            for pid, seconds, memory, files, sockets in rows
        ],
        skipped=said.count("is skipped, its gradients are not finite"),
        outages=said.count("calls of the judges go on: "),
        steps=[json.loads(line)["step"] for line in lines],
        checkpoints=sorted(path.name for path in (run / "checkpoints").iterdir()),
        leftovers=sorted(path.name for path in hidden),
        num_bytes={path.name: _size(path) for path in sorted(run.iterdir())},
        **counts,
    )


def _size(path: Path) -> int:
    return sum(one.stat().st_size for one in (path, *path.rglob("*")) if one.is_file())


def windows(samples: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Return the samples from a tenth to a fifth of all, and those of the last fifth."""
    size = len(samples)
    return samples[size // 10 : size // 5], samples[-(size // 5) :]


def seconds(samples: Sequence[Sample]) -> float:
    """Return the median time between two steps of one process."""
    return median(
        after.time - before.time for before, after in pairwise(samples) if after.pid == before.pid
    )


def main() -> int:
    """Run and report; 1 where something wasn't flat, times left aside."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the steps that faults befall")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = endure(Path(name), steps=asked.steps, kills=asked.kills, seed=asked.seed)
    early, late = windows(found.samples)
    memory, files, sockets = (
        tuple(median(getattr(one, figure) for one in part) for part in (early, late))
        for figure in ("memory", "files", "sockets")
    )
    pace = seconds(early), seconds(late)
    growing = sum(
        size for name, size in found.num_bytes.items() if name not in ("checkpoints", "final")
    )
    flat = {
        "memory": memory[1] <= memory[0] * (1 + FLAT),
        "open files": files[1] <= files[0] and sockets[1] <= sockets[0],
        "disk": len(found.checkpoints) <= KEPT and not found.leftovers,
    }
    flatness = ", ".join(f"{name} {'yes' if is_flat else 'NO'}" for name, is_flat in flat.items())
    every_step_once = list(found.steps) == list(range(1, asked.steps + 1))
    rows = (
        f"{asked.steps} steps: {found.kills} kills, {found.full_disks} full disk, "
        f"{found.outages} judge outage, {found.skipped} step skipped; each step once in the "
        f"metrics: {'yes' if every_step_once else 'no'}",
        f"memory, MB:        {memory[0] / 1e6:8.1f} {memory[1] / 1e6:8.1f}",
        f"open files:        {files[0]:8.0f} {files[1]:8.0f}",
        f"open sockets:      {sockets[0]:8.0f} {sockets[1]:8.0f}",
        f"seconds a step:    {pace[0]:8.3f} {pace[1]:8.3f}   {pace[1] / pace[0] - 1:+.1%}",
        f"disk, MB:          {found.num_bytes['checkpoints'] / 1e6:8.1f} in "
        f"{len(found.checkpoints)} checkpoints, {growing / 1e3 / asked.steps:.1f} kB a step in "
        f"the rest, {len(found.leftovers)} temporary files",
        f"flat within 5 %:   {flatness}",
    )
    sys.stdout.write("\n".join(rows) + "\n")
    return 0 if all(flat.values()) and every_step_once else 1


if __name__ == "__main__":
    sys.exit(main())
