"""The nouns that cross a boundary between two rooms of the house, as frozen dataclasses.

Everything here is plain Python: no torch, no I/O. Shapes in the docstrings: ``T`` completion
tokens, ``L`` prompt tokens, ``G`` members of a group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
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
class Tokens:
    """Tokens to learn from: an SFT example, a sample of GRPO, a ranked response.

    What is there and what is learned are two things: a turn may be learned, and what another said
    after it only read. Drawn, for a prompt of three tokens, a turn, a reply to it and a turn::

        ids        5 6 7 | 20 21 22 | 9 8 | 23 1
        learned    - - - |  #  #  # | - - |  # #

    Example:
        >>> Tokens(ids=(5, 6, 7, 20, 21, 22, 9, 8, 23, 1), trained=((3, 6), (8, 10))).num_trained
        5
        >>> Tokens.of((5, 6, 7), (20, 21, 1), logprobs=(-0.1, -0.7, -0.2), advantage=0.9).trained
        ((3, 6),)
    """

    ids: tuple[int, ...]
    """[N] all that is there."""
    trained: tuple[tuple[int, int], ...]
    """Stretches [start, end) that are learned; in order, apart from one another. The first token is
    in none: nothing stands before it that could predict it."""
    logprobs: tuple[float, ...] = ()
    """[N] ``rollout_logprobs`` of sampled tokens, 0 elsewhere; empty where nothing was sampled."""
    prefix: int = 0
    """How many of the first tokens are those of its siblings too, and computed once for all of
    them; 0 where it has none."""
    advantage: float | tuple[float, ...] | None = None
    """How much better than its siblings, by the token ([N]) or for all of them alike; the score of
    a ranked response. None: it is out of GRPO's loss, its score abstained or its group is dead."""
    source: str = ""
    """Where it came from: the key of a session or a task."""
    starts: tuple[int, ...] = ()
    """Where further sequences begin in the same row; none sees another."""

    def __post_init__(self) -> None:
        """Refuse what can't be learned from.

        Raises:
            ValueError: Lengths or stretches don't fit together.
        """
        length, places = len(self.ids), [place for stretch in self.trained for place in stretch]
        if not 0 <= self.prefix <= length:
            raise ValueError(f"a prefix of {self.prefix} tokens, of {length} in all")
        bounds = [max(1, self.prefix), *places, length]
        if places and (bounds != sorted(bounds) or any(a == b for a, b in self.trained)):
            raise ValueError(f"trained {self.trained} is not in order within {bounds[0]}..{length}")
        for values in (self.logprobs, self.advantage):
            if isinstance(values, tuple) and len(values) not in (0, length):
                raise ValueError(f"{len(values)} values for {length} tokens")

    @classmethod
    def of(
        cls,
        prompt: Sequence[int],
        completion: Sequence[int],
        *,
        logprobs: Sequence[float] = (),
        advantage: float | None = None,
        source: str = "",
    ) -> Tokens:
        """Return a completion that is learned whole, after a prompt that its siblings share.

        Args:
            prompt: [L]
            completion: [T]
            logprobs: [T] where it was sampled.
            advantage: Of all its tokens.
            source: Where it came from.
        """
        ids = (*prompt, *completion)
        start = max(1, len(prompt))
        return cls(
            ids=ids,
            trained=((start, len(ids)),) if start < len(ids) else (),
            logprobs=(*[0.0] * len(prompt), *logprobs) if logprobs else (),
            prefix=len(prompt),
            advantage=advantage,
            source=source,
        )

    @property
    def num_trained(self) -> int:
        """The tokens that are learned."""
        return sum(end - start for start, end in self.trained)

    @property
    def num_own(self) -> int:
        """The tokens after those that it shares."""
        return len(self.ids) - self.prefix

    @property
    def advantages(self) -> tuple[float, ...]:
        """One a token, [N]; 0 where it has none."""
        if isinstance(self.advantage, tuple):
            return self.advantage
        return (self.advantage or 0.0,) * len(self.ids)


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
    rule: str = ""
    """By which the answer was read (`atlas.rewards.verifiers.answers`); empty for none."""
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
