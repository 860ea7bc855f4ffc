"""What it costs to score answers in the jail, beside the step of GRPO that they belong to.

    python benchmarks/scorers.py             # 10 steps of the quickstart's size
    python benchmarks/scorers.py --steps 2   # shows that it runs

The base model teaches itself at the quickstart's sizes. Between two steps, as many answers as a
step has, to as many tasks (16 with 8 answers each), are scored: by a family's scorer in this
process, and by the same one in the jailed processes. What is printed are medians of the processor's
time, that of all processes together, so that other work on the machine changes little.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import reasoning_gym

from atlas.config import GRPOConfig, QuickstartConfig
from atlas.config.resolve import section
from atlas.data.tasks import mixed_tasks
from atlas.rewards.verifiers.reasoning import reasoning_verdicts, scores_in_process
from atlas.run.progress import Silent
from atlas.run.run_dir import RunDir
from atlas.run.stopping import StopRequest
from atlas.training.grpo import train_grpo
from atlas.types import Task

_REPEATS = 5
FAMILIES = ("countdown", "number_sorting", "decimal_arithmetic", "word_sorting", "n_queens")
"""Of those whose scorers run in the jail: expressions, lists, numbers, words, grids."""


class Scoring(Silent):
    """Scores between two steps, and takes the times of both."""

    def __init__(self, num_tasks: int, answers_each: int, steps: int) -> None:
        self._steps, self._learning = steps, False
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        drawn = {name: mixed_tasks((name,), num_tasks, seed=5) for name in FAMILIES}
        # The next task's answer: wrong as a rule, and of the right form.
        self._answers = {
            name: [one.answer for one in (*tasks[1:], tasks[0]) for _ in range(answers_each)]
            for name, tasks in drawn.items()
        }
        self._tasks = {
            name: [one for one in tasks for _ in range(answers_each)]
            for name, tasks in drawn.items()
        }
        self._since: float | None = None

    def begin(self, total: int) -> None:
        """Look whether steps begin, or what comes before them."""
        self._learning = total == self._steps

    def advance(self, units: int = 1, note: str = "") -> None:
        """Take the time of the step that is done, unless it is the first; then score."""
        if not self._learning:
            return
        now = processor_time()
        if self._since is not None:
            self.seconds["step"].append(now - self._since)
        for family, tasks in self._tasks.items():
            answers = self._answers[family]
            self._take(f"{family}, in the jail", lambda: reasoning_verdicts(tasks, answers))  # noqa: B023
            scorer = reasoning_gym.get_score_answer_fn(family)
            self._take(f"{family}, here", lambda: _scored(scorer, tasks, answers))  # noqa: B023
        self._since = processor_time()

    def _take(self, name: str, work: Callable[[], object]) -> None:
        started = processor_time()
        for _ in range(_REPEATS):  # clocks of other processes count in hundredths of a second
            work()
        if self._since is not None:  # the first time starts the jailed process
            self.seconds[name].append((processor_time() - started) / _REPEATS)


def processor_time() -> float:
    """Return the seconds that this process and the worker, with its forks, have computed."""
    others = [child.cpu_times() for child in psutil.Process().children()]
    return time.process_time() + sum(sum(times[:4]) for times in others)


def _scored(scorer: Any, tasks: list[Task], answers: list[str]) -> list[float]:
    return [
        scorer(answer, {"question": t.question, "answer": t.answer, "metadata": dict(t.metadata)})
        for t, answer in zip(tasks, answers, strict=True)
    ]


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    asked = parser.parse_args()
    assert not any(map(scores_in_process, FAMILIES))
    with tempfile.TemporaryDirectory() as folder:
        config = section(
            QuickstartConfig(),
            "grpo",
            GRPOConfig,
            model_name_or_path="base",
            student_model="base",
            output_dir=folder,
            max_steps=asked.steps + 1,
            length_probe_samples=0,
            max_clipped_share=1.0,
            canary_tasks=0,
        )
        scoring = Scoring(config.prompts_per_step, config.num_generations, config.max_steps)
        run = RunDir.create(Path(folder) / "run", "grpo")
        tasks = mixed_tasks(("chain_sum",), 64, seed=3)
        train_grpo(run, config, tasks, progress=scoring, stop=StopRequest())
    step = median(scoring.seconds.pop("step"))
    sys.stdout.write(f"a step of GRPO: {1e3 * step:.0f} ms of processor time\n")
    for name, seconds in scoring.seconds.items():
        share = median(seconds) / step
        sys.stdout.write(f"{name:30} {1e3 * median(seconds):6.1f} ms   {share:6.1%} of a step\n")


if __name__ == "__main__":
    main()
