"""What every student does: a model here, one behind an endpoint, an agent of the user's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from atlas.config.parts.answers import AUTO
from atlas.endpoint.budget import Usage
from atlas.environments.lengths import LengthProbe
from atlas.prompts import Message, Prompts
from atlas.types import Attempt, Task, Utterance


class Student(Protocol):
    """Is taught, and never trained. Subclass it; what is written here is what it can't do."""

    answer_format: str = AUTO
    """How it marks its final answer."""
    max_new_tokens: int = 0
    """Longest attempt, in tokens; 0 where nothing limits it."""
    waits: bool = False
    """It answers elsewhere: the policy may be sampled from meanwhile."""
    has_likelihood: bool = False
    """It says how likely it finds reference answers (`gains`)."""
    max_turns: int = 1
    """Most turns of an attempt; above 1 it acts with tools, and a teacher may speak between."""

    def attempt(
        self,
        tasks: Sequence[Task],
        teachings: Sequence[str | None],
        *,
        seed: int = 0,
        before: Sequence[Attempt] | None = None,
    ) -> list[Attempt]:
        """Return an attempt at each task, with its teaching or, where that is None, alone.

        Args:
            before: An earlier attempt at each, which the student looks at once more.
        """
        ...

    def go_on(
        self,
        tasks: Sequence[Task],
        teachings: Sequence[str | None],
        attempts: Sequence[Attempt],
        guidance: Sequence[str],
        *,
        seed: int = 0,
    ) -> list[Attempt]:
        """Return each attempt with one turn more, of a student that acts in several.

        Args:
            tasks: That it works on.
            teachings: Before its first turn; None: it works alone.
            attempts: So far; none of them is over.
            guidance: Before this turn; empty for none, and for the first one.
        """
        return list(attempts)  # of one that has said all in its only turn

    def approach(self, tasks: Sequence[Task], *, seed: int = 0) -> list[Utterance]:
        """Return how the student would go about each task."""
        ...

    def gains(self, tasks: Sequence[Task], teachings: Sequence[str]) -> list[float] | None:
        """Return how much likelier each teaching makes the reference answer, nats a token.

        None where the student has no log-probabilities.
        """
        return None

    def prepare(self, tasks: Sequence[Task], *, teaching_tokens: int) -> None:
        """Refuse tasks that the student has no room for, with teachings of at most that length."""

    def probe(
        self, tasks: Sequence[Task], teachings: Sequence[str], *, seed: int
    ) -> list[LengthProbe]:
        """Attempt each task once, to see how many attempts the limits cut."""
        return []

    @property
    def spent(self) -> Usage | None:
        """What asking it has cost in this run; None where nothing counts it."""
        return None

    def metrics(self) -> Mapping[str, float]:
        """Return what asking it came to since the last call, for the log."""
        return {}

    def close(self) -> None:
        """Stop what is under way."""


def opening_of(
    prompts: Prompts, task: Task, teaching: str | None, before: Attempt | None = None
) -> list[Message]:
    """Return what a student is asked first: alone, taught, or to try again after an attempt."""
    if teaching is None:
        return prompts.render("baseline", task=task.question)
    if before is None:
        return prompts.render("attempt", task=task.question, teaching=teaching)
    return prompts.render("revise", task=task.question, teaching=teaching, attempt=before.text)
