"""What a teacher can do for SmolLM2-135M-Instruct in each family of `atlas quickstart real`.

Run: ``.venv/bin/python benchmarks/word_problems.py [--tasks 60]``. Prints, on held-out tasks, the
share that the student gets right alone, that it gets right when it is asked just the product behind
the words, and that it gets wrong then though it was right alone.
"""

from __future__ import annotations

import argparse
import re
from statistics import fmean

import torch
from rich.console import Console
from rich.table import Table

from atlas.data.tasks import make_tasks
from atlas.data.word_problems import WORD_PROBLEMS
from atlas.environments.loading import load_student
from atlas.models.packaged import unpacked
from atlas.prompts.folder import shipped_prompts
from atlas.rewards.verifiers import verified
from atlas.types import Task

FORMAT = "last_number"


def main() -> None:
    """Ask the student, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=60, help="of each family")
    num = parser.parse_args().tasks
    student = load_student(
        unpacked("smollm2"),
        max_new_tokens=32,
        approach_tokens=1,
        prompts=shipped_prompts("small"),
        answer_format=FORMAT,
    )
    table = Table("family", "alone", "asked the product", "spoiled", title=f"{num} tasks each")
    for family in WORD_PROBLEMS:
        tasks = make_tasks(family, num, seed=0, split="held_out")
        with torch.inference_mode():
            alone = student.attempt(tasks, [None] * num)
            asked = student.attempt(tasks, [question(task) for task in tasks])
        before, after = (
            [one.correct for one in verified(tasks, said, FORMAT)] for said in (alone, asked)
        )
        spoiled = [was and not is_ for was, is_ in zip(before, after, strict=True)]
        table.add_row(family, *(f"{fmean(flags):.0%}" for flags in (before, after, spoiled)))
    Console().print(table)


def question(task: Task) -> str:
    """Return the one question that leads to the answer, numbers as they stand in the task."""
    first, second = re.findall(r"\d+", task.question)
    return f"What is {first} * {second}? Answer briefly."


if __name__ == "__main__":
    main()
