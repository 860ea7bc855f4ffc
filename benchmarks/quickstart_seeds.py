"""The quickstart on three seeds: does GRPO's gain hold, and what does it cost?

Run: ``.venv/bin/python benchmarks/quickstart_seeds.py [--preset real] [seed ...] [KEY=VALUE ...]``.
Prints a column a seed: the claims on the held-out tasks, the gain of GRPO over SFT with its paired
95 % interval, seconds, and the largest memory of all processes together. A finished seed in
``runs/PRESET-SEED`` is read, not run again; then the memory is not known.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

ROWS = (
    "student alone, % right",
    "with the SFT teacher",
    "with the GRPO teacher",
    "uplift of GRPO, points",
    "GRPO minus SFT, points",
    "not worse, %",
    "completion, %",
    "student tokens saved, %",
    "net of teaching, %",
    "seconds, all stages",
    "memory, GB",
)


def main() -> None:
    """Run the seeds that are missing and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", choices=("quickstart", "real"), default="quickstart")
    parser.add_argument("words", nargs="*", metavar="SEED or KEY=VALUE")
    found = parser.parse_args()
    seeds = [int(word) for word in found.words if "=" not in word] or [0, 1, 2]
    keys = [word for word in found.words if "=" in word]
    columns = []
    for seed in seeds:
        run = Path("runs") / f"{found.preset}-{seed}"
        done = (run / "report.html").exists()
        memory = "-" if done else f"{run_seed(found.preset, seed, run, keys):.2f}"
        columns.append([*figures(run), memory])
    title = "atlas quickstart" + (" real" if found.preset == "real" else "")
    table = Table("", *(f"seed {seed}" for seed in seeds), title=f"{title}, GRPO teacher")
    for name, *cells in zip(ROWS, *columns, strict=True):
        table.add_row(name, *cells)
    Console().print(table)


def run_seed(preset: str, seed: int, run: Path, keys: list[str]) -> float:
    """Run one seed; returns the largest memory (GB, proportional share) of its processes."""
    command = [sys.executable, "-m", "atlas", "quickstart"] + ["real"] * (preset == "real")
    command += [f"seed={seed}", f"output_dir={run}", f"results_dir={run / 'results'}", *keys]
    process = subprocess.Popen(command)
    largest = 0
    while process.poll() is None:
        largest = max(largest, memory_of(psutil.Process(process.pid)))
        time.sleep(3)  # looking takes a twentieth of a second
    if process.returncode:
        sys.exit(process.returncode)
    return largest / 1e9


def memory_of(process: psutil.Process) -> int:
    """Return the bytes that a process and its children hold, shared pages counted once."""
    total = 0
    try:
        for member in (process, *process.children(recursive=True)):
            total += member.memory_full_info().pss
    except psutil.Error:
        pass  # a process that has just ended holds nothing
    return total


def figures(run: Path) -> list[str]:
    """Return the cells of one finished run."""
    claims = json.loads((run / "eval" / "claims.json").read_text())
    stages = [json.loads(path.read_text()) for path in (run / "stages").glob("*.json")]
    by_arm = {arm: {c["name"]: c for c in rows} for arm, rows in claims["arms"].items()}
    sft, grpo = by_arm["sft"], by_arm["grpo"]
    (gain,) = claims["comparisons"]
    return [
        value(grpo["accuracy_alone"]),
        value(sft["accuracy_taught"]),
        value(grpo["accuracy_taught"]),
        interval(grpo["uplift"]),
        interval(gain),
        interval(grpo["non_degradation"]),
        f"{value(grpo['completion_alone'])} to {value(grpo['completion_taught'])}",
        interval(grpo["student_tokens_saved"]),
        interval(grpo["net_tokens_saved"]),
        f"{sum(stage['seconds'] for stage in stages):.0f}",
    ]


def value(claim: dict) -> str:
    """Return the value of a claim."""
    return f"{claim['value']:.1f}"


def interval(claim: dict) -> str:
    """Return the value of a claim with its interval."""
    low, high = claim["interval"]
    return f"{claim['value']:.1f} [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    main()
