"""The dual-agent loop: baseline -> probe -> teach -> attempt.

Input: tasks and two engines. Output: completions of each step, and Rollout groups once scored.

A group shares one prompt: per task one baseline and one approach of the frozen student (both
greedy, so computed once and kept), then G teachings of the same teacher prompt, then one attempt
of the student for each teaching::

    student   task                -> baseline     kept per task
    student   task + probe        -> approach     kept per task
    teacher   task + approach     -> teaching 0 .. G-1
    student   task + teaching g   -> attempt  g
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from atlas.prompts import PromptKind
from atlas.prompts.chat import render_ids
from atlas.rollouts.generator import Generator, Sampling
from atlas.types import Completion, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Alone:
    """What the student does without a teacher: its attempt, and the approach that it states."""

    baseline: Completion
    approach: Completion


@dataclass(frozen=True, kw_only=True, slots=True)
class Taught:
    """One teaching and what the student made of it."""

    teaching: Completion
    attempt: Completion


class Student:
    """The frozen student. What it does alone is computed once per task and kept.

    Args:
        generator: the engine that runs it.
        tokenizer: renders its prompts.
        sampling: how it answers; its approach is cut at ``approach_tokens``.
        approach_tokens: most tokens of the stated approach.
    """

    def __init__(
        self,
        generator: Generator,
        tokenizer: PreTrainedTokenizerBase,
        sampling: Sampling,
        *,
        approach_tokens: int = 32,
    ) -> None:
        self.generator = generator
        self.tokenizer = tokenizer
        self.sampling = sampling
        self._probe = Sampling(max_new_tokens=approach_tokens, temperature=sampling.temperature)
        self._kept: dict[str, Alone] = {}

    def alone(self, tasks: Sequence[Task], *, seed: int = 0) -> list[Alone]:
        """Return the baseline and the approach of each task, computing only the new ones."""
        new = list({task.id: task for task in tasks if task.id not in self._kept}.values())
        if new:
            baselines = self._answer([("baseline", {"task": t.question}) for t in new], seed)
            approaches = self.generator.generate(
                [render_ids(self.tokenizer, "approach", task=t.question) for t in new],
                self._probe,
                seed=seed,
            )
            for task, baseline, approach in zip(new, baselines, approaches, strict=True):
                self._kept[task.id] = Alone(baseline=baseline, approach=approach[0])
        return [self._kept[task.id] for task in tasks]

    def remember(self, known: Mapping[str, Alone]) -> None:
        """Take what was computed elsewhere, by the ids of the tasks."""
        self._kept.update(known)

    def attempt(
        self, tasks: Sequence[Task], teachings: Sequence[str], *, seed: int = 0
    ) -> list[Completion]:
        """Return one attempt for each task with its teaching."""
        asked: list[tuple[PromptKind, dict[str, str]]] = [
            ("attempt", {"task": task.question, "teaching": teaching})
            for task, teaching in zip(tasks, teachings, strict=True)
        ]
        return self._answer(asked, seed)

    def _answer(
        self, asked: Sequence[tuple[PromptKind, dict[str, str]]], seed: int
    ) -> list[Completion]:
        # Equal prompts get equal answers when the student is greedy: compute each once.
        ids = [tuple(render_ids(self.tokenizer, kind, **values)) for kind, values in asked]
        distinct = list(dict.fromkeys(ids)) if self.sampling.temperature == 0 else ids
        answers = [
            group[0] for group in self.generator.generate(distinct, self.sampling, seed=seed)
        ]
        if distinct is ids:
            return answers
        by_prompt = dict(zip(distinct, answers, strict=True))
        return [by_prompt[prompt] for prompt in ids]


class Teacher:
    """The model that teaches; its weights may change between calls.

    Args:
        generator: the engine that runs it.
        tokenizer: renders its prompts.
        sampling: how teachings are drawn.
    """

    def __init__(
        self, generator: Generator, tokenizer: PreTrainedTokenizerBase, sampling: Sampling
    ) -> None:
        self.generator = generator
        self.tokenizer = tokenizer
        self.sampling = sampling

    def teach(
        self,
        tasks: Sequence[Task],
        approaches: Sequence[str],
        *,
        num_samples: int,
        seed: int,
        first_place: int = 0,
    ) -> list[list[Completion]]:
        """Return ``num_samples`` teachings for each task."""
        asked = [
            render_ids(self.tokenizer, "teaching", task=task.question, approach=approach)
            for task, approach in zip(tasks, approaches, strict=True)
        ]
        return self.generator.generate(
            asked, self.sampling, num_samples=num_samples, seed=seed, first_place=first_place
        )


def teach_and_attempt(
    teacher: Teacher,
    student: Student,
    tasks: Sequence[Task],
    *,
    num_samples: int,
    seed: int,
    first_place: int = 0,
) -> list[list[Taught]]:
    """Run the loop for each task.

    Args:
        teacher: draws the teachings.
        student: attempts the task once with each of them.
        tasks: P tasks.
        num_samples: G teachings a task.
        seed: of the teachings.
        first_place: place of the first task among those that share the seed.

    Returns:
        P lists of G pairs.
    """
    alone = student.alone(tasks)
    teachings = teacher.teach(
        tasks,
        [a.approach.text for a in alone],
        num_samples=num_samples,
        seed=seed,
        first_place=first_place,
    )
    flat = [teaching for group in teachings for teaching in group]
    repeated = [task for task in tasks for _ in range(num_samples)]
    attempts = student.attempt(repeated, [t.text for t in flat], seed=seed)
    pairs = [Taught(teaching=t, attempt=a) for t, a in zip(flat, attempts, strict=True)]
    return [pairs[i : i + num_samples] for i in range(0, len(pairs), num_samples)]
