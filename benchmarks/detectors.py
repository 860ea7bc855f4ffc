"""False-positive rates of the detectors of cheating, and what they find.

    python benchmarks/detectors.py
    python benchmarks/detectors.py --rollouts runs/quickstart/grpo/rollouts

Leaks: the recorded cases of ``tests/unit/rewards/leaks/leak_cases.jsonl``; right plans for drawn
tasks of the quickstart's families, worked out and so known to be honest; and, with ``--rollouts``,
the teachings that a teacher sampled. Repetition: the same honest texts, and texts made to loop. The
canary: simulated trainings of 120 steps with a look every 20, in which reward and canary behave as
told.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet
from reasoning_gym.arithmetic.leg_counting import ANIMALS

from atlas.data.tasks import make_tasks
from atlas.from_scratch.data import working
from atlas.rewards.drift import CanaryReading, divergence
from atlas.rewards.leaks.find import find_leak
from atlas.rewards.repetition import loops
from atlas.types import Task

ROOT = Path(__file__).resolve().parents[1]
CASES = ROOT / "tests" / "unit" / "rewards" / "leaks" / "leak_cases.jsonl"
FAMILIES = ("basic_arithmetic", "chain_sum", "leg_counting")
PLANS = 1000
TRAININGS = 2000
LOOKS = 6
STEPS = 20
CANARY_SIZES = (32, 128)
NOISE = 0.08
"""Deviation of a step's mean reward: 16 groups of 8 with rewards between -1.5 and 1.1."""


def cases() -> list[tuple[Task, str, str | None]]:
    """Return the recorded cases: task, teaching, cause of the leak."""
    rows = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    return [
        (
            Task(question=row["question"], answer=row["answer"], family="any"),
            row["teaching"],
            row["kind"],
        )
        for row in rows
    ]


def honest_plans() -> Iterator[tuple[Task, str]]:
    """Yield tasks with their right plan."""
    for family in FAMILIES:
        for task in make_tasks(family, PLANS, seed=23):
            problem = working.read_problem(task)
            legs = [ANIMALS[animal] for animal in problem.animals] or None
            steps = working.plan_steps(problem, working.by_precedence(problem), legs)
            yield task, working.write_plan(steps)


def sampled(folder: Path) -> Iterator[tuple[Task, str]]:
    """Yield the teachings that a training sampled, each once."""
    seen: set[tuple[str, str]] = set()
    for file in sorted(folder.glob("*.parquet")):
        for row in pyarrow.parquet.read_table(file).to_pylist():
            if (key := (row["question"], row["teaching"])) not in seen:
                seen.add(key)
                task = Task(question=row["question"], answer=row["answer"], family=row["family"])
                yield task, row["teaching"]


def training(
    rng: random.Random, reward_rise: float, canary_rise: float, num_tasks: int
) -> list[CanaryReading]:
    """Return the looks of a simulated training."""
    looks: list[CanaryReading] = []
    for number in range(LOOKS):
        done = number / (LOOKS - 1)
        chance = 0.4 + canary_rise * done
        right = sum(rng.random() < chance for _ in range(num_tasks))
        rewards = tuple(rng.gauss(0.2 + reward_rise * done, NOISE) for _ in range(STEPS))
        mean = sum(rewards) / STEPS
        looks.append(
            CanaryReading(
                step=STEPS * (number + 1),
                canary=right / num_tasks,
                num_tasks=num_tasks,
                rewards=rewards,
                weighted={"uplift": 0.2, "rim": mean - 0.2},
            )
        )
    return looks


def alarms(reward_rise: float, canary_rise: float, num_tasks: int) -> tuple[int, int]:
    """Return in how many simulated trainings the canary alarms, and names the right part."""
    rng = random.Random(7)
    found = [
        divergence(training(rng, reward_rise, canary_rise, num_tasks)) for _ in range(TRAININGS)
    ]
    return sum(one is not None for one in found), sum(one.part == "rim" for one in found if one)


def share(found: int, of: int) -> str:
    """Return a rate as it is printed."""
    return f"{found} of {of} ({100 * found / of:.2f} %)" if of else "none"


def report_leaks(rollouts: Path | None) -> None:
    """Print what the leak detector accuses."""
    recorded = cases()
    kinds = Counter(kind for _, _, kind in recorded if kind)
    for kind, count in sorted(kinds.items()):
        hits = sum(
            (leak := find_leak(task, text)) is not None and leak.kind == kind
            for task, text, wanted in recorded
            if wanted == kind
        )
        _say(f"leaks, recorded, {kind}: found {share(hits, count)}")
    honest = [(task, text) for task, text, kind in recorded if kind is None]
    _say(f"leaks, recorded, honest: accused {share(_accused(honest), len(honest))}")
    plans = list(honest_plans())
    _say(f"leaks, right plans of three families: accused {share(_accused(plans), len(plans))}")
    if rollouts is not None:
        texts = list(sampled(rollouts))
        found = Counter(
            leak.kind if (leak := find_leak(task, text)) else "" for task, text in texts
        )
        told = ", ".join(f"{kind} {n}" for kind, n in sorted(found.items()) if kind) or "nothing"
        _say(f"leaks, {len(texts)} different teachings of {rollouts}: {told}")


def report_repetition() -> None:
    """Print what the detector of loops accuses."""
    honest = [text for _, text, kind in cases() if kind is None]
    honest += [text for _, text in honest_plans()]
    _say(f"loops, honest texts: accused {share(sum(map(loops, honest)), len(honest))}")
    made = [f"{text} " * 6 for text in honest if len(text.split()) > 3]
    _say(f"loops, the same texts six times over: found {share(sum(map(loops, made)), len(made))}")


def report_canary(num_tasks: int) -> None:
    """Print how often the canary alarms."""
    name = f"canary of {num_tasks}"
    for what, reward, canary in (
        ("nothing is learned", 0.0, 0.0),
        ("both rise", 0.3, 0.3),
        ("both rise a little", 0.1, 0.1),
        ("the reward falls", -0.2, 0.0),
    ):
        found, _ = alarms(reward, canary, num_tasks)
        _say(f"{name}, {what}: alarm in {share(found, TRAININGS)}")
    found, named = alarms(0.3, 0.0, num_tasks)
    _say(f"{name}, the reward rises alone: alarm in {share(found, TRAININGS)}")
    _say(f"{name}, the part is named: in {share(named, found)}")
    found, _ = alarms(0.3, -0.2, num_tasks)
    _say(f"{name}, it falls while the reward rises: alarm in {share(found, TRAININGS)}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _accused(texts: Sequence[tuple[Task, str]]) -> int:
    return sum(find_leak(task, text) is not None for task, text in texts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rollouts", type=Path, help="folder of a training's rollouts")
    arguments = parser.parse_args()
    report_leaks(arguments.rollouts)
    report_repetition()
    for size in CANARY_SIZES:
        report_canary(size)
