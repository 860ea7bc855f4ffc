"""A student that is a program of the user's: an async function, named and allowed.

::

    async def answer(task: Task, teaching: str | None) -> str | Attempt: ...

``teaching`` is None where the agent is to answer alone. The task comes without its reference
answer. What the function raises, and what it doesn't return in time, is an abstention, with its
traceback in the run directory; what is neither text nor an `Attempt` ends the run.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from atlas.config.grammar.own_code import load_own
from atlas.config.parts.answers import AUTO
from atlas.config.parts.student import StudentConfig
from atlas.endpoint.budget import Usage
from atlas.endpoint.outage import OutageWatch
from atlas.endpoint.owner import STUDENT
from atlas.endpoint.service import ANSWERED
from atlas.endpoint.tally import Tally
from atlas.environments.students.elsewhere import Elsewhere
from atlas.errors import AtlasError
from atlas.masking import mask_secrets
from atlas.run.files import disk_errors
from atlas.types import Attempt, StudentTurn, Task, Utterance

_LONGEST = 20_000
_SHOWN = 200
_warn = logging.getLogger(__name__).warning


class AgentStudent(Elsewhere):
    """A function of the user's.

    Args:
        config: Names the function, and allows it.
        answer_format: How it marks its final answer.
        errors: The file that failed attempts are added to, a line each; None: they are logged.
        say: Takes the lines that a pause is announced with.

    Raises:
        AtlasError: The function isn't allowed, can't be imported, isn't async, or doesn't take a
            task and a teaching.
    """

    def __init__(
        self,
        config: StudentConfig,
        *,
        answer_format: str = AUTO,
        errors: Path | None = None,
        say: Callable[[str], None] = _warn,
    ) -> None:
        self._function = load_agent(str(config.student_function), config.allow_targets or ())
        self._errors = errors
        self._places = asyncio.Semaphore(config.student_concurrency)
        self._watch = OutageWatch(
            config.student_name, config.student_limits, owner=STUDENT, say=say
        )
        self._outcomes = Counter[str]()
        super().__init__(config, answer_format=answer_format)

    def approach(self, tasks: Sequence[Task], *, seed: int = 0) -> list[Utterance]:
        """An agent isn't asked how it would go about a task."""
        return [Utterance()] * len(tasks)

    def _tally(self) -> Tally:
        outcomes = Counter(self._outcomes)
        return Tally(usage=Usage(calls=outcomes.total()), outcomes=outcomes)

    async def _attempt(
        self, task: Task, teaching: str | None, sample: int, before: Attempt | None
    ) -> Attempt:
        # What it wrote before is its own business: it is given the guidance alone.
        async with self._places, self._watch.attempt() as call:
            kind, found = await self._answer(task, teaching)
            if kind != ANSWERED:
                call.failed(kind, found.abstained)
        self._outcomes[kind] += 1
        return found

    async def _answer(self, task: Task, teaching: str | None) -> tuple[str, Attempt]:
        seconds = self._config.student_deadline_s
        clock = asyncio.timeout(seconds)
        try:
            async with clock:
                # No student sees the reference.
                found = await self._function(replace(task, answer=""), teaching)
        # sys.exit() would end the run as if it were done.
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            own = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and (own is None or own.cancelling()):
                raise  # it is the run that stops
            self._note(task, teaching, error)
            if clock.expired():
                reason = f"the student's agent gave no answer within {seconds:g} s"
                return "timeout", Attempt(abstained=reason, finished=False)
            return "failed", Attempt(abstained=_said(error), finished=False)
        attempt = self._checked(found, task)
        return ("abstained" if attempt.abstained else ANSWERED), attempt

    def _checked(self, found: object, task: Task) -> Attempt:
        if isinstance(found, str):
            return Attempt(text=found.strip())
        if isinstance(found, Attempt):
            count = found.num_tokens
            texts = (found.text, found.thoughts, found.abstained, found.withheld)
            whole = all(isinstance(turn, StudentTurn) for turn in found.turns)
            texts_are = whole and all(isinstance(text, str) for text in texts)
            if texts_are and type(count) is int and count >= 0:
                return replace(found, verdict=Attempt().verdict, again=())
        raise AtlasError(
            f"student_function '{self._config.student_name}' returned "
            f"{type(found).__name__} {ascii(found)[:_SHOWN]} for task {task.id}; it must return "
            "text or an atlas.types.Attempt"
        )

    def _note(self, task: Task, teaching: str | None, error: BaseException) -> None:
        """Keep what went wrong."""
        said = mask_secrets("".join(traceback.format_exception(error))[-_LONGEST:])
        if self._errors is None:
            _warn("the student's agent failed: %s", said)
            return
        line = {
            "task": task.id,
            "question": task.question,
            "teaching": teaching,
            "error": _said(error),
            "traceback": said,
        }
        with disk_errors(self._errors), self._errors.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def load_agent(name: str, allowed: Sequence[str]) -> Callable[[Task, str | None], Any]:
    """Return the user's function.

    Args:
        name: ``module.function`` or ``module:function``.
        allowed: Names that the command line allows; nothing is imported for any other.

    Raises:
        AtlasError: It isn't allowed, isn't there, isn't async, or takes something else.
    """
    function = load_own("student_function", name, allowed)
    called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    if not inspect.iscoroutinefunction(called):
        raise AtlasError(f"student_function '{name}' must be an async function (async def)")
    try:
        inspect.signature(function).bind(None, None)
    except (TypeError, ValueError) as error:
        raise AtlasError(
            f"student_function '{name}' must take two arguments, a task and a teaching ({error})"
        ) from error
    return function


def _said(error: BaseException) -> str:
    try:
        said = mask_secrets(" ".join(str(error).split()))[:_SHOWN]
    except Exception:  # of a class of the user's
        said = ""
    return f"the student's agent failed ({type(error).__name__}: {said})"
