"""A training that runs beside the test, watched by its log."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
TASKS = (
    "model_name_or_path=base",
    "student_model=base",
    "max_steps=14",
    "num_generations=4",
    "gradient_accumulation_steps=1",
    "max_new_tokens=16",
    "mask_truncated_completions=false",
    "max_clipped_share=1",
    "length_probe_samples=0",
    "canary_tasks=0",
    "student_max_new_tokens=16",
    "approach_max_new_tokens=8",
    "save_steps=2",
    "num_threads=1",
    "phase_timeout=60",
    "data=runtime_traces",
)
"""GRPO on the base model: fourteen steps, of which each takes about a second."""


class Started:
    """A command and all that it started."""

    def __init__(self, command: Sequence[str], **variables: str) -> None:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "COLUMNS": "300",
            **variables,
        }
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def end(self, timeout: float = 150) -> tuple[int, str, str]:
        """Wait for it; return its exit code, what it printed, and what it complained of."""
        try:
            said, complained = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        return self._process.returncode, said, complained

    def rank(self, rank: int) -> psutil.Process:
        """Return the process of a rank."""
        for child in psutil.Process(self.pid).children(recursive=True):
            if child.environ().get("RANK") == str(rank):
                return child
        raise AssertionError(f"there is no rank {rank}")

    def kill(self) -> None:
        """Kill it and all that it started."""
        for process in [*psutil.Process(self.pid).children(recursive=True), self._process]:
            process.kill()


def wait_for(what: Callable[[], bool], runs: Sequence[Started], timeout: float = 150) -> None:
    """Wait until something is so, while all that was started still runs."""
    end = time.monotonic() + timeout
    while not what():
        for one in runs:
            assert one._process.poll() is None, one.end()
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.2)


def has_step(run: Path, step: int) -> Callable[[], bool]:
    """Return what tells whether a run has logged a step."""
    metrics = run / "metrics.jsonl"
    return lambda: metrics.is_file() and f'"step": {step},' in metrics.read_text()
