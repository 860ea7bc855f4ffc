"""A run directory as the quickstart leaves it, made up, to test the report and to look at it.

Seeded, so that it is the same every time. Nothing in it was measured.
"""

from __future__ import annotations

import json
import math
import operator
import random
from datetime import UTC, datetime
from pathlib import Path

from atlas.evaluation.claims import claims_table
from atlas.evaluation.claims_file import write_claims
from atlas.evaluation.pairs_file import write_pairs
from atlas.types import Attempt, Leak, Lesson, Task, Utterance, Verdict

NAMES = "ABCDEFG"
FAMILIES = ("basic_arithmetic", "chain_sum", "leg_counting")
STUDENT_ACCURACY = {"basic_arithmetic": 0.47, "chain_sum": 0.61, "leg_counting": 0.38}
GAIN = {"untrained": 0.06, "sft": 0.45, "grpo": 0.78}
LEGS = {"cow": 4, "spider": 8, "chicken": 2, "ant": 6, "crab": 10}

RUN = {
    "layout_version": 1,
    "kind": "quickstart",
    "created_at": "2025-11-22T00:48:20+00:00",
    "atlas_version": "0.1.0",
}
CONFIG = """\
seed: 7
output_dir: runs/quickstart
families: [basic_arithmetic, chain_sum, leg_counting]
num_collect_tasks: 600
num_eval_tasks: 480
db_url: postgresql://atlas:secret-word@localhost:5433/atlas
beta: 0.04
learning_rate: 0.0002
num_generations: 8
"""


def make_fake_run(
    root: Path, *, num_tasks: int = 480, arms: tuple[str, ...] = ("sft", "grpo")
) -> Path:
    """Write a whole run into ``root`` and return it."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "run.json").write_text(json.dumps(RUN))
    (root / "config.yaml").write_text(CONFIG)
    _write_stages(root / "stages", num_tasks)
    _write_metrics(root)
    pairs = fake_pairs(num_tasks, arms)
    write_pairs(root / "eval" / "pairs.jsonl", pairs)
    write_claims(root / "eval" / "claims.json", claims_table(pairs))
    return root


def fake_pairs(num_tasks: int, arms: tuple[str, ...] = ("sft", "grpo")) -> list[Lesson]:
    """Return pairs with mostly better, a few worse and a few leaking teachings."""
    rng = random.Random(11)
    tasks: dict[str, tuple[Task, list[str], Attempt]] = {}
    while len(tasks) < num_tasks:
        task, steps = _task(rng, FAMILIES[len(tasks) % 3])
        tasks.setdefault(task.id, (task, steps, _alone(rng, task)))
    return [
        _pair(rng, arm, task, steps, alone) for arm in arms for task, steps, alone in tasks.values()
    ]


def _task(rng: random.Random, family: str) -> tuple[Task, list[str]]:
    """Return a task and its steps, in which A, B, ... stand for the results so far."""
    if family == "leg_counting":
        herd = {animal: rng.randint(1, 15) for animal in rng.sample(sorted(LEGS), 3)}
        listed = ", ".join(f"{n} {animal}{'s' * (n > 1)}" for animal, n in herd.items())
        steps = [f"{n} * {LEGS[animal]}" for animal, n in herd.items()] + ["A + B", "D + C"]
        question = f"Your task is to count how many legs there are in total: {listed}."
    elif family == "chain_sum":
        first, *rest = (rng.randint(10, 99) for _ in range(rng.randint(3, 5)))
        signed = [f"{rng.choice('+-')} {number}" for number in rest]
        steps = [f"{NAMES[i - 1] if i else first} {term}" for i, term in enumerate(signed)]
        question = f"State the final answer to the following: {first} {' '.join(signed)} ="
    else:
        a, b, c, d = (rng.randint(2, 12) for _ in range(4))
        steps = [f"{b} * {c}", f"{a} + A", f"B - {d}"]
        question = f"Calculate {a} + {b} * {c} - {d}."
    return Task(question=question, answer=str(_work(steps)[-1]), family=family), steps


def _work(steps: list[str]) -> list[int]:
    results: dict[str, int] = {}
    for name, step in zip(NAMES, steps, strict=False):
        left, sign, right = (str(results.get(part, part)) for part in step.split())
        operate = {"+": operator.add, "-": operator.sub, "*": operator.mul}[sign]
        results[name] = operate(int(left), int(right))
    return list(results.values())


def _alone(rng: random.Random, task: Task) -> Attempt:
    finished = rng.random() < 0.79
    correct = finished and rng.random() < STUDENT_ACCURACY[task.family]
    answer = int(task.answer) + (0 if correct else rng.choice([-10, -2, -1, 1, 3, 10, 20]))
    doubts = " ".join(f"Try {rng.randint(2, 90)} = {rng.randint(2, 90)}." for _ in range(4))
    text = f"{doubts} Answer: {answer}" if finished else f"{doubts} " * 3
    tokens = rng.randint(38, 60) if finished else 96
    verdict = Verdict(score=float(correct), parsed=finished)
    return Attempt(text=text.strip(), num_tokens=tokens, finished=finished, verdict=verdict)


def _pair(rng: random.Random, arm: str, task: Task, steps: list[str], alone: Attempt) -> Lesson:
    gain = GAIN[arm]
    leaked = rng.random() < (0.03 if arm == "sft" else 0.006)
    correct = rng.random() < (1 - 0.1 * (1 - gain) if alone.correct else gain)
    finished = correct or rng.random() < 0.6 + 0.4 * gain
    plan = " ".join(f"{NAMES[i]} is {step}." for i, step in enumerate(steps))
    results = _work(steps)
    if leaked:
        plan = f"The answer is {task.answer}."
    elif not correct:
        plan = plan.replace("*", "+", 1).replace("B is A", "B is 2")
        results[-1] += rng.choice([-4, 2, 5])
    work = " ".join(
        f"{NAMES[i]} is {step} = {result}."
        for i, (step, result) in enumerate(zip(steps, results, strict=True))
    )
    return Lesson(
        task=task,
        arm=arm,
        alone=alone,
        attempt=Attempt(
            text=f"{work} Answer: {results[-1]}" if finished else work,
            num_tokens=rng.randint(18, 31) if finished else 96,
            finished=finished,
            verdict=Verdict(score=float(correct), parsed=finished),
        ),
        approach=Utterance(
            text="From left to right." if task.family != "leg_counting" else "Add all numbers."
        ),
        teaching=Utterance(
            text=f"{plan} The answer is {NAMES[len(steps) - 1]}." if not leaked else plan,
            num_tokens=rng.randint(12, 24) + (6 if arm == "sft" else 0),
            thoughts="He forgets the brackets." if arm == "grpo" else "",
        ),
        leak=Leak(kind="stated", reason="states it") if leaked else None,
    )


def _write_stages(folder: Path, num_tasks: int) -> None:
    folder.mkdir()
    summaries = {
        "collect": (64.2, {"sessions": 600, "succeeded": 341, "mean_reward": 0.5683}),
        "sft": (41.7, {"sessions": 341, "steps": 120, "loss": 0.3121}),
        "grpo": (171.9, {"steps": 150, "rollouts": 19200, "uplift": 0.391}),
        "evaluate": (28.4, {"tasks": num_tasks, "arms": {"sft": num_tasks, "grpo": num_tasks}}),
    }
    finished = 1_763_772_500.0
    for name, (seconds, summary) in summaries.items():
        finished += seconds
        moment = datetime.fromtimestamp(finished, UTC).isoformat(timespec="seconds")
        record = {"stage": name, "finished_at": moment, "seconds": seconds, "summary": summary}
        (folder / f"{name}.json").write_text(json.dumps(record))


def _write_metrics(root: Path) -> None:
    rng = random.Random(5)
    for stage in ("sft", "grpo"):
        (root / stage).mkdir()
        (root / stage / "config.yaml").write_text(f"seed: 7\noutput_dir: runs/quickstart/{stage}\n")
    sft = [
        {
            "step": s,
            "stage": "sft",
            "train/loss": 0.28 + 1.9 * math.exp(-s / 18) * rng.uniform(0.9, 1.1),
        }
        | ({"eval/loss": 0.31 + 1.8 * math.exp(-s / 18)} if s % 20 == 0 else {})
        for s in range(1, 121)
    ]
    grpo = [_grpo_step(rng, step) for step in range(1, 151)]
    for stage, rows in (("sft", sft), ("grpo", grpo)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (root / stage / "metrics.jsonl").write_text(text)


def _grpo_step(rng: random.Random, step: int) -> dict[str, float | str]:
    progress = 1 - math.exp(-step / 45)
    alone = min(1.0, max(0.0, rng.gauss(0.44, 0.06)))
    uplift = 0.14 + 0.27 * progress + rng.gauss(0, 0.05)
    return {
        "step": step,
        "time": 1_763_772_500.0 + step,
        "stage": "grpo",
        "train/loss": rng.gauss(0, 0.01),
        "train/reward": uplift + 0.08 + rng.gauss(0, 0.02),
        "train/uplift": uplift,
        "train/non_degrade_rate": min(1.0, 0.91 + 0.07 * progress + rng.gauss(0, 0.012)),
        "train/accuracy_alone": alone,
        "train/accuracy_taught": min(1.0, alone + uplift),
        "train/leak_rate": max(0.0, 0.03 * (1 - progress) + rng.gauss(0, 0.006)),
        "train/kl": 1.35 * progress * rng.uniform(0.8, 1.2),
        "train/kl_per_token": 0.07 * progress,
        "train/dead_groups": float(rng.randint(2, 6)),
        "train/teaching_tokens": 27 - 9 * progress + rng.gauss(0, 0.8),
    }
