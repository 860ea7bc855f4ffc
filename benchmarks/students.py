"""How close to the ideal does a student behind an endpoint come? A slow one, on this machine.

Run: ``.venv/bin/python benchmarks/students.py [concurrency]``. A local endpoint takes 200 ms a
call. First 256 attempts alone: the ideal is calls / concurrency x 0.2 s. Then the rollouts of a
step, 32 tasks with 8 teachings of the base model each, in shares: the student's attempts after the
sampling of each share, and, as it is, beside that of the next one. The best of three each.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from atlas.config.evaluate import EvaluateConfig
from atlas.data.tasks import mixed_tasks
from atlas.environments.loading import load_actor
from atlas.environments.rollout import roll_out
from atlas.environments.students.baselines import Baselines
from atlas.environments.students.endpoint import EndpointStudent
from atlas.environments.teaching.plan import PlanTeaching
from atlas.prompts.folder import shipped_prompts
from atlas.rollouts.generator import Sampling
from atlas.types import Task

ROOT = Path(__file__).resolve().parents[1]
DELAY_S = 0.2
CONCURRENCY = 32
NUM_ATTEMPTS = 256
NUM_TASKS, NUM_GENERATIONS = 32, 8
REPEATS = 3
PROMPTS = shipped_prompts("plain")


def main() -> None:
    """Start the endpoint, ask it, print the table."""
    logging.disable(logging.WARNING)
    concurrency = int(sys.argv[1]) if len(sys.argv) > 1 else CONCURRENCY
    table = Table("", "", title=f"{NUM_ATTEMPTS} attempts, {concurrency} at a time")
    with served() as url:
        for rows in (attempts(url, concurrency), step(url, concurrency)):
            for name, value in rows.items():
                table.add_row(name, value)
            table.add_section()
    Console().print(table)


@contextlib.contextmanager
def served() -> Iterator[str]:
    """Give the address of the endpoint, in a process of its own."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.endpoint.chat_server", str(DELAY_S)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.communicate()


def student_at(url: str, concurrency: int) -> EndpointStudent:
    """Return the student, with its first connection open."""
    config = EvaluateConfig(
        teachers=("base",),
        student="endpoint",
        student_base_url=url,
        student_concurrency=concurrency,
        student_cache_path=None,
    )
    student = EndpointStudent(config, PROMPTS, max_new_tokens=64)
    student.attempt([Task(question="1 + 1 =", answer="2", family="reference")], [None])
    student.metrics()
    return student


def attempts(url: str, concurrency: int) -> dict[str, str]:
    """Attempt as many tasks, with nothing else to do."""
    tasks = mixed_tasks(("chain_sum",), NUM_ATTEMPTS, seed=3)
    with contextlib.closing(student_at(url, concurrency)) as student:
        taken: list[float] = []
        for _ in range(REPEATS):
            student.metrics()
            started = time.perf_counter()
            student.attempt(tasks, ["Add from left to right."] * NUM_ATTEMPTS)
            taken.append(time.perf_counter() - started)
        seconds = min(taken)
        ideal = student.metrics()["student/calls"] / concurrency * DELAY_S
    return {
        "attempts alone: seconds, ideal": f"{ideal:.2f}",
        "seconds, measured": f"{seconds:.2f}",
        "measured / ideal": f"{seconds / ideal:.3f}",
    }


def step(url: str, concurrency: int) -> dict[str, str]:
    """Roll a step out: shares one behind the other, and the student beside the sampling."""
    tasks = mixed_tasks(("chain_sum",), NUM_TASKS, seed=4)
    teacher = load_actor("base", Sampling(max_new_tokens=64, temperature=1.0), prompts=PROMPTS)
    with contextlib.closing(student_at(url, concurrency)) as student:
        environment = PlanTeaching(teacher.renderer, Baselines(student))
        environment.begin(tasks)  # asks what the student does alone
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for beside in (False, True) * REPEATS:
            environment.outcome_waits = beside
            student.metrics()
            started = time.perf_counter()
            roll_out(environment, teacher, tasks, num_samples=NUM_GENERATIONS, seed=1)
            seconds[beside].append(time.perf_counter() - started)
        ideal = student.metrics()["student/calls"] / concurrency * DELAY_S
    behind, beside = (min(seconds[way]) for way in (False, True))
    return {
        "a step, the student after each share: seconds": f"{behind:.2f}",
        "the student beside the next share": f"{beside:.2f}",
        "its attempts alone, ideal": f"{ideal:.2f}",
    }


if __name__ == "__main__":
    main()
