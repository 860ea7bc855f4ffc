"""The nouns that cross a boundary between two rooms of the house, as frozen dataclasses.

Everything here is plain Python: no torch, no I/O. Shapes in the docstrings: ``T`` completion
tokens, ``L`` prompt tokens, ``G`` members of a group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Self

FinishReason = Literal["stop", "length"]
Withheld = Literal["", "unfinished_thoughts", "untagged"]
"""Why nothing of what was said is given to others: thoughts that didn't end, or no whole tag where
one is asked for (``teaching_tag``)."""

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
    """The completion decoded, without special tokens, stripped; of an `Actor`, without thoughts."""
    finish_reason: FinishReason
    """``stop``: it ended by itself; ``length``: it was cut."""
    policy_version: int = 0
    """Optimiser steps that the weights had seen; 0 for a frozen model."""
    thoughts: str = ""
    """What it wrote before the end of its thoughts, for nobody else to see."""
    thought_tokens: int = 0
    """That these took, of `num_tokens`."""
    withheld: Withheld = ""

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
class Verdict:
    """What a verifier says about one text."""

    score: float | None
    """0 to 1; 1 is right. None: the verifier could not tell, and ``reason`` says why."""
    parsed: bool
    """A final answer could be read."""
    reason: str = ""
    """Why it could not tell; or, for the log, why the answer is wrong."""

    rule: str = ""
    """By which the answer was read (`atlas.rewards.verifiers.answers`); empty for none."""

    @property
    def correct(self) -> bool:
        """True for full marks only; partial credit is not a right answer."""
        return self.score is not None and self.score >= 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Leak:
    """How a teaching gives the answer away."""

    kind: str
    """As metrics name it."""
    reason: str
    """In words, for a log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """What somebody said, without token ids: the text is what others read of it."""

    text: str = ""
    num_tokens: int = 0
    """That it took to say, thoughts included."""
    finished: bool = True
    """It ended by itself (``finish_reason == "stop"``)."""
    thoughts: str = ""
    """Kept for the record; nobody is shown them."""
    withheld: Withheld = ""
    """Why the text is empty, where something was said."""

    @classmethod
    def of(cls, completion: Completion) -> Self:
        """Return what an engine sampled as it is read."""
        return cls(
            text=completion.text,
            num_tokens=completion.num_tokens,
            finished=completion.finish_reason == "stop",
            thoughts=completion.thoughts,
            withheld=completion.withheld,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    """A tool that a student called, and what it was told."""

    name: str
    arguments: str
    """As it wrote them: JSON, mostly."""
    result: str = ""
    failed: bool = False
    """The result says why there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentTurn:
    """One turn of a student that acts with tools."""

    text: str
    """What it said besides its calls."""
    calls: tuple[ToolCall, ...] = ()
    """None in the last turn, which is the answer."""
    num_tokens: int = 0
    guidance: str = ""
    """The teacher's, before this turn; the first one's stands in the prompt."""

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> StudentTurn:
        """Return a turn again that `dataclasses.asdict` wrote; TypeError where it is none."""
        calls = tuple(ToolCall(**call) for call in record.get("calls", ()))
        return cls(**{**record, "calls": calls})


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt(Utterance):
    """What was done with a task, by a model, an endpoint or a program, and how it turned out."""

    turns: tuple[StudentTurn, ...] = ()
    """Of a student that acts with tools, from first to last; the text is the last one's."""
    abstained: str = ""
    """Why there is no answer that could be judged, as an outage; it is then never a wrong one."""
    verdict: Verdict = Verdict(score=None, parsed=False, reason="not verified")
    """The verifier's."""
    again: tuple[Attempt, ...] = ()
    """Further attempts at the same, of a student that is asked several times; this is the first."""

    @classmethod
    def together(cls, attempts: Sequence[Attempt]) -> Attempt:
        """Return several attempts at the same as one; those that abstained are left out.

        Example:
            >>> Attempt.together([Attempt(abstained="down"), Attempt(text="5")]).text
            '5'
        """
        first, *others = [one for one in attempts if not one.abstained] or attempts[:1]
        return replace(first, again=tuple(others))

    @property
    def correct(self) -> bool:
        """True where the verifier gave full marks."""
        return self.verdict.correct

    @property
    def parsed(self) -> bool:
        """A final answer could be read from the text."""
        return self.verdict.parsed

    @property
    def unverified(self) -> str:
        """Why the verifier could not tell; ``correct`` is then False and means nothing."""
        return "" if self.told else self.verdict.reason

    @property
    def told(self) -> tuple[Attempt, ...]:
        """Each by itself, those that the verifier could tell about."""
        return tuple(one for one in (self, *self.again) if one.verdict.score is not None)

    @property
    def right(self) -> float:
        """Share of the attempts with full marks: 0 or 1 for a single one."""
        return self.share(lambda one: one.correct)

    @property
    def spread(self) -> float:
        """Deviation of right among the attempts, 0 to 0.5; 0 for a single one."""
        return (self.right * (1 - self.right)) ** 0.5

    @property
    def tokens(self) -> float:
        """Mean length of the attempts, in tokens; 0 where nobody knows."""
        return self.share(lambda one: one.num_tokens)

    def share(self, of: Callable[[Attempt], float]) -> float:
        """Return the mean of something over the attempts that could be told about.

        Example:
            >>> right, wrong = (Verdict(score=score, parsed=True) for score in (1.0, 0.0))
            >>> Attempt(verdict=right, again=(Attempt(verdict=wrong),)).right
            0.5
        """
        attempts = self.told or (self,)
        return sum(map(of, attempts)) / len(attempts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Review:
    """What a verifying teacher says of an attempt."""

    attempt: Attempt
    """That it read."""
    certified: bool
    """It lets the attempt stand; an unreadable verdict never does."""
    readable: bool = True
    """It says clearly whether it does."""
    guidance: str = ""
    """What the student is shown where it tries again."""
    tried_again: bool = False
    """The student did."""

    @property
    def true(self) -> bool | None:
        """Whether the verdict is what the verifier says; None where that can't be told."""
        told = self.attempt.verdict.score is not None
        return self.certified == self.attempt.correct if told else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """One task as the policy that is trained met it, from its first prompt to its score.

    It grows by `dataclasses.replace`: begun, a turn more, scored. A group is a tuple of episodes of
    one task, which began with one prompt.

    Example: two turns; each prompt holds all that was before::

        turns[0]    prompt_ids P0                       token_ids "50 <end>"
        replies[0]  "higher"
        turns[1]    prompt_ids P0 50 <end> higher ...   token_ids "75 <end>"
    """

    task: Task
    turns: tuple[Completion, ...] = ()
    """What the policy said, in order; all of them are learned from."""
    replies: tuple[str, ...] = ()
    """What the environment said after each turn but the last."""
    score: Score = Score(value=None, reason="not scored")

    @property
    def truncated(self) -> bool:
        """True where a turn was cut by the length limit; it is the last one."""
        return self.turns[-1].finish_reason == "length"

    @property
    def num_tokens(self) -> int:
        """That the policy sampled, in all turns."""
        return sum(turn.num_tokens for turn in self.turns)

    @property
    def text(self) -> str:
        """All that was said, a line a turn; replies stand behind ``>``."""
        replies = [*(f"> {reply}" for reply in self.replies), ""]
        spoken = [(turn.text, reply) for turn, reply in zip(self.turns, replies, strict=False)]
        return "\n".join(line for pair in spoken for line in pair if line)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson(Episode):
    """A task from first to last: answered alone, taught, and tried again.

    Example: P0 is the student's prompt, P1 the teacher's, A the approach::

        alone       P0            -> "Try: ... Answer: 20"          once per task
        approach    P0 + probe    -> "From left to right."          once per task
        teaching    P1(A)         -> teaching 0, 1, ... G-1         one prefill, G continuations
        attempt     P0 + teaching -> attempt  0, 1, ... G-1
    """

    alone: Attempt = Attempt()
    """The student's, without a teacher."""
    approach: Utterance = Utterance()
    """How the student would go about it, which the teacher reads."""
    teaching: Utterance = Utterance()
    """What the student is shown of what the teacher said."""
    attempt: Attempt = Attempt()
    """The student's, with the teaching; of a verifying teacher the last one."""
    reviews: tuple[Review, ...] = ()
    """What a verifying teacher said of each attempt that it read, in order."""
    leak: Leak | None = None
    """How the teaching gives the answer away: in the claims the attempt then counts as wrong,
    uncompleted and saving nothing."""
    arm: str = ""
    """Whose teaching, where teachers are compared: ``sft`` or ``grpo`` in the quickstart."""

    @property
    def leaked(self) -> bool:
        """True where the teaching gives the answer away."""
        return self.leak is not None

    @property
    def student_tokens(self) -> float:
        """That the student wrote in all attempts which were reviewed, and after them."""
        first = self.reviews[0].attempt.tokens if self.reviews else 0.0
        return first + self.tried_after

    @property
    def tried_after(self) -> float:
        """Tokens that the student wrote after the teacher had spoken, all attempts together.

        Where a verifying teacher lets the first attempt stand, that is none.
        """
        if not self.reviews:
            return self.attempt.tokens
        *_, last = self.reviews
        later = sum(review.attempt.tokens for review in self.reviews[1:])
        return later + (self.attempt.tokens if last.tried_again else 0)


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
    a ranked response; what an example of SFT counts by. None: it is out of GRPO's loss, its score
    abstained or its group is dead; in SFT it counts as 1."""
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
    def weight(self) -> float:
        """What the tokens that are learned count by in SFT, added up."""
        if self.advantage is None:
            return float(self.num_trained)
        return sum(sum(self.advantages[start:end]) for start, end in self.trained)

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
