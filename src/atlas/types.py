"""The nouns that cross a boundary between two rooms of the house, as frozen dataclasses.

Everything here is plain Python: no torch, no I/O. Shapes in the docstrings: ``T`` completion
tokens, ``L`` prompt tokens, ``G`` members of a group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

FinishReason = Literal["stop", "length"]

REFERENCE: Final = "reference"
"""The family of tasks without a verifier of their own: answers must say what the reference says."""


def task_id(question: str) -> str:
    """Return the identity of a task: the first 16 hex digits of the SHA-256 of its question."""
    return hashlib.sha256(question.strip().encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One problem with a reference answer.

    Example:
        >>> task = Task(question="Calculate 2 + 3 * 4.", answer="14", family="basic_arithmetic")
        >>> task.id
        '3da71056fe3f9aab'
    """

    question: str
    """What the student is asked, word for word."""
    answer: str
    """The reference answer, as the verifier of the family writes it."""
    family: str
    """Names the verifier: a reasoning-gym dataset, or one of `atlas.rewards.verifiers`; any other
    label leaves it to the reference answer."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the verifier needs besides the answer; empty where it needs nothing."""

    @property
    def id(self) -> str:
        """Identity by content, equal on every machine."""
        return task_id(self.question)


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What an engine sampled for one prompt.

    Example: the prompt ``"2 + 3 ="`` answered by ``" 5<|end|>"``:
        >>> Completion(prompt_ids=(7, 1, 8, 3), token_ids=(9, 2), logprobs=(-0.1, -0.01),
        ...            text="5", finish_reason="stop", policy_version=3).num_tokens
        2
    """

    prompt_ids: tuple[int, ...]
    """[L] token ids that the engine was given."""
    token_ids: tuple[int, ...]
    """[T] sampled token ids; the end-of-sequence token is the last one when it was sampled."""
    logprobs: tuple[float, ...]
    """[T] ``rollout_logprobs``: natural log, under the distribution that was sampled from."""
    text: str
    """The completion decoded, without special tokens, stripped."""
    finish_reason: FinishReason
    """``stop``: it ended by itself; ``length``: it was cut."""
    policy_version: int = 0
    """Optimiser steps that the weights had seen; 0 for a frozen model."""

    @property
    def num_tokens(self) -> int:
        """T, the end-of-sequence token included."""
        return len(self.token_ids)


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A reward with its parts, or an abstention.

    Example: taught right, alone wrong, a little dense signal, nothing leaked:
        >>> Score(value=1.08, parts={"uplift": 1.0, "dense": 0.08, "leak": 0.0}).abstained
        False
    """

    value: float | None
    """None: the scorer could not tell (an outage, an unparsable verdict); never read as 0."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Every part of the value by name, unweighted, for the log."""
    weighted: Mapping[str, float] = field(default_factory=dict)
    """What each part adds to the value, where it is a sum of parts."""
    reason: str = ""
    """Why it abstained, or what a detector found."""

    @property
    def abstained(self) -> bool:
        """True where there is no value; such a member leaves its group's statistics."""
        return self.value is None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """One teaching of a group: what the teacher said, what the student then did, what it earned."""

    teaching: Completion
    attempt: Completion
    score: Score


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutGroup:
    """G teachings of one task. All share the baseline, the approach and the teacher's prompt.

    Example: P0 is the student's prompt, P1 the teacher's, A the approach::

        baseline   P0            -> "Try: ... Answer: 20"          sampled once per task
        approach   P0 + probe    -> "From left to right."          sampled once per task
        rollouts   P1(A)         -> teaching 0, 1, ... G-1         one prefill, G continuations
                   P0 + teaching -> attempt  0, 1, ... G-1
    """

    task: Task
    baseline: Completion
    baseline_score: Score
    approach: Completion
    rollouts: tuple[Rollout, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainSample:
    """One completion as the GRPO update sees it.

    Example: group 2, three completion tokens, better than its group's mean:
        >>> TrainSample(group=2, prompt_ids=(5, 6), completion_ids=(7, 8, 2),
        ...             rollout_logprobs=(-0.1, -0.7, -0.2), advantage=0.9).completion_ids[-1]
        2
    """

    group: int
    """Index of the group within the step; members of one group share ``prompt_ids``."""
    prompt_ids: tuple[int, ...]
    """[L]"""
    completion_ids: tuple[int, ...]
    """[T] end-of-sequence token included."""
    rollout_logprobs: tuple[float, ...]
    """[T]"""
    advantage: float | None
    """None: the member's score abstained or its group is dead; it is out of the loss."""
    truncated: bool = False
    """True where the completion was cut by the length limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How one answer of the student turned out, as evaluation and report need it."""

    text: str
    correct: bool
    num_tokens: int
    finished: bool
    """The answer ended by itself (``finish_reason == "stop"``)."""
    parsed: bool
    """A final answer could be read from the text."""
    unverified: str = ""
    """Why the verifier could not tell; ``correct`` is then False and means nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedOutcome:
    """One held-out task, without and with teaching.

    Example: alone wrong in 80 tokens, taught right in 30, for 20 tokens of teaching.
    """

    task: Task
    arm: str
    """Whose teaching: ``sft`` or ``grpo`` in the quickstart."""
    alone: Outcome
    taught: Outcome
    approach: str
    teaching: str
    num_teaching_tokens: int
    leaked: bool
    """The teaching gave the answer away: in the claims the taught answer counts as wrong,
    uncompleted and saving nothing."""
