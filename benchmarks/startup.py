"""How long a command takes to answer: help, refusals, one lesson. Medians, as a table.

    python benchmarks/startup.py                 # 5 runs each
    python benchmarks/startup.py --runs 1        # shows that it runs

Each run is a process of its own in an empty folder, with the files of the package in the system's
cache. On two quiet cores help shall take under 0.4 s, a refusal under 1.5 s, a lesson under 6 s.
``cpu`` is the processor's time, which says more than the clock where the machine is busy.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from atlas.cli.app import COMMANDS

HELP = [("--version",), ("--help",), *((name, "--help") for name in COMMANDS)]
REFUSALS = [
    ("sft", "teacher_sft", "bta=1"),
    ("sft", "teacher_stf"),
    ("sft", "teacher_sft", "data=runtime_traces", "export_path=gone.jsonl"),
    ("grpo", "teacher_rcl", "trainer=nope"),
    ("quickstart", "seed=x"),
    ("launch", "2", "teacher_sft", "bta=1"),
    ("evaluate", "./gone"),
    ("teach", "?", "--teacher", "./gone"),
    ("collect", "tasks=gone.jsonl"),
    ("ranked", "--config", "gone.json"),
    ("prepare-data", "--source", "nope"),
    ("report", "gone"),
    ("export", "--output", "t.jsonl", "--database-url", "gone"),
]
LESSONS = [("teach", "Calculate 7 - 3 + 5.", "--teacher", "base")]
LIMITS = ((HELP, 0, 0.4), (REFUSALS, 2, 1.5), (LESSONS, 0, 6.0))
"""Commands, their exit code, and the seconds that they may take."""


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def timed(words: tuple[str, ...], code: int, folder: str) -> tuple[float, float]:
    """Return seconds by the clock and of the processor; the command must end with this code."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "atlas", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != code:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu


def main() -> None:
    """Print the table; exit code 1 where a limit isn't kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    late = 0
    say(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, median of {runs}\n")
    say("| seconds | cpu | limit | command |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for commands, code, limit in LIMITS:
            for words in commands:
                timed(words, code, folder)
                found = [timed(words, code, folder) for _ in range(runs)]
                seconds, cpu = (statistics.median(column) for column in zip(*found, strict=True))
                late += seconds > limit
                say(f"| {seconds:.2f} | {cpu:.2f} | {limit} | atlas {' '.join(words)} |")
    sys.exit(1 if late else 0)


if __name__ == "__main__":
    main()
