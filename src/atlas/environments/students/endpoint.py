"""A student behind an OpenAI-compatible chat API: prompts as messages, replies as attempts.

It has no log-probabilities. How calls are paced, counted, kept and given up is the client's.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from atlas.config.parts.answers import AUTO
from atlas.config.parts.student import StudentConfig
from atlas.endpoint.budget import Usage
from atlas.endpoint.cache import content_key
from atlas.endpoint.client import Call, Reply, ToolsRefused
from atlas.endpoint.failures import Abstention, CallError
from atlas.endpoint.owner import STUDENT
from atlas.endpoint.service import Service, open_budget, open_cache
from atlas.endpoint.tally import Tally
from atlas.environments.lengths import LengthProbe
from atlas.environments.students.elsewhere import Elsewhere
from atlas.environments.students.student import opening_of
from atlas.environments.tools.acting import Acting, Form, is_over
from atlas.environments.tools.calls import Called
from atlas.errors import one_line
from atlas.json_file import json_value
from atlas.prompts import Message, Prompts
from atlas.prompts.thinking import apart
from atlas.types import Attempt, Task, Utterance

_KEPT_AS = 1
"""Raised when a reply is kept in another form; older ones are not found then."""
_warn = logging.getLogger(__name__).warning


class EndpointStudent(Elsewhere):
    """A model that is asked over HTTP.

    Args:
        config: The keys that begin with ``student``.
        prompts: That it reads.
        max_new_tokens: Longest answer, in tokens.
        approach_tokens: Longest statement of its approach, in tokens.
        answer_format: How it marks its final answer.
        spent: What an earlier part of the run has spent, of this process's part of the limits.
        parts: Processes that share the limits, each an equal part.
        acting: Its way with tools, where it has some.
        say: Takes the lines that a pause is announced with.

    Raises:
        AtlasError: The environment variable with the key isn't set.
    """

    def __init__(
        self,
        config: StudentConfig,
        prompts: Prompts,
        *,
        max_new_tokens: int,
        approach_tokens: int = 32,
        answer_format: str = AUTO,
        spent: Usage | None = None,
        parts: int = 1,
        acting: Acting | None = None,
        say: Callable[[str], None] = _warn,
    ) -> None:
        limits = config.student_limits
        self._budget = open_budget(limits, owner=STUDENT, spent=spent, parts=parts)
        self._cache = open_cache(limits, STUDENT)
        self._service = Service(
            config.student_endpoint,
            limits,
            budget=self._budget,
            cache=self._cache,
            owner=STUDENT,
            say=say,
        )
        self._prompts, self._say = prompts, say
        self.max_new_tokens, self._approach_tokens = max_new_tokens, approach_tokens
        self._counts_tokens = True
        self._acting = acting
        self._takes_tools = config.tool_format == "auto"
        self.max_turns = acting.max_turns if acting else 1
        super().__init__(config, answer_format=answer_format)

    @property
    def spent(self) -> Usage:
        """What all calls cost, with what was given as spent."""
        return self._budget.spent

    def approach(self, tasks: Sequence[Task], *, seed: int = 0) -> list[Utterance]:
        """See `Student.approach`."""
        limit = self._approach_tokens
        render = self._prompts.render
        asked = [render("approach", task=task.question) for task in tasks]
        return [*self._wait(self._said(messages, limit) for messages in asked)]

    def go_on(
        self,
        tasks: Sequence[Task],
        teachings: Sequence[str | None],
        attempts: Sequence[Attempt],
        guidance: Sequence[str],
        *,
        seed: int = 0,
    ) -> list[Attempt]:
        """See `Student.go_on`."""
        return self._wait(
            self._turn(task, opening_of(self._prompts, task, teaching), so_far, said)
            for task, teaching, so_far, said in zip(
                tasks, teachings, attempts, guidance, strict=True
            )
        )

    def probe(
        self, tasks: Sequence[Task], teachings: Sequence[str], *, seed: int
    ) -> list[LengthProbe]:
        """See `Student.probe`."""
        limit = self.max_new_tokens
        made = self._wait(
            self._first(opening_of(self._prompts, task, teaching), 2 * limit)
            for task, teaching in zip(tasks, teachings, strict=True)
        )
        lengths = [one.num_tokens if one.finished else None for one in made if one.num_tokens]
        if not lengths:
            return []
        return [
            LengthProbe(
                who="attempts of the student",
                key="student_max_new_tokens",
                limit=limit,
                tried=2 * limit,
                lengths=tuple(lengths),
            )
        ]

    def close(self) -> None:
        """Stop what is under way, and close connections and cache."""
        self._loop.submit(self._service.endpoint.close()).result()
        super().close()
        self._cache.close()
        if self._acting is not None:
            self._acting.toolbox.close()

    def _tally(self) -> Tally:
        return Tally(usage=self.spent, outcomes=Counter(self._service.outcomes))

    async def _attempt(
        self, task: Task, teaching: str | None, sample: int, before: Attempt | None
    ) -> Attempt:
        asked = opening_of(self._prompts, task, teaching, before)
        if self._acting is None:
            return await self._said(asked, self.max_new_tokens, sample)
        attempt = Attempt()
        while not is_over(attempt):
            attempt = await self._turn(task, asked, attempt, sample=sample)
        return attempt

    async def _first(self, opening: list[Message], limit: int) -> Attempt:
        """Return what it says first, with tools in sight where it has some; calls none."""
        if self._acting is None:
            return await self._said(opening, limit)
        return (await self._acted(opening, Attempt(), "", limit, 0))[0]

    async def _turn(
        self,
        task: Task,
        opening: list[Message],
        so_far: Attempt,
        guidance: str = "",
        sample: int = 0,
    ) -> Attempt:
        assert self._acting is not None
        said, calls = await self._acted(opening, so_far, guidance, self.max_new_tokens, sample)
        return await self._acting.after(task, so_far, said, calls, guidance)

    async def _acted(
        self, opening: list[Message], so_far: Attempt, guidance: str, limit: int, sample: int
    ) -> tuple[Attempt, Sequence[Called]]:
        """Return what it says next, and the calls in it."""
        acting = self._acting
        assert acting is not None

        def in_form(form: Form) -> list[dict[str, Any]]:
            return acting.messages(opening, so_far, guidance, form)

        if self._takes_tools:
            tools = {"tools": acting.toolbox.specs}
            reply = await self._replied(in_form("api"), limit, sample, tools, in_form)
        else:
            reply = await self._replied(in_form("text"), limit, sample)
        if isinstance(reply, Attempt):
            return reply, ()
        said = self._read(reply)
        if reply.calls:
            return said, [(name, arguments) for name, arguments in reply.calls]
        # A server that doesn't know the model's way of calling leaves it in the text.
        found = acting.read(said.text)
        return replace(said, text=found.text), found.calls

    async def _said(self, messages: list[Message], max_tokens: int, sample: int = 0) -> Attempt:
        reply = await self._replied(messages, max_tokens, sample)
        return reply if isinstance(reply, Attempt) else self._read(reply)

    async def _replied(
        self,
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int,
        sample: int,
        tools: Mapping[str, Any] | None = None,
        instead: Callable[[Form], list[dict[str, Any]]] | None = None,
    ) -> Reply | Attempt:
        """Return the reply to messages; an attempt that abstained where there is none.

        Args:
            tools: What the endpoint is told of them.
            instead: Writes the messages in words, for an endpoint that takes no tools.
        """
        given = self._prompts.template_kwargs("student")
        extra = {"chat_template_kwargs": dict(given)} if given else {}
        call = Call(
            messages=messages,
            temperature=self._config.student_temperature,
            max_tokens=max_tokens,
            extra={**extra, **(tools or {})},
        )
        asked = [_KEPT_AS, await self._service.endpoint.address(), asdict(call), sample]

        async def ask() -> Reply | Abstention:
            try:
                return await self._reply(call)
            except ToolsRefused as error:
                assert instead is not None
                self._tell_in_words(str(error))
                return await self._reply(replace(call, messages=instead("text"), extra=extra))

        found = await self._service.answer(content_key(asked), ask, _Form())
        if isinstance(found, Abstention):
            reason = f"the student gave no answer ({found.kind.replace('_', ' ')}: {found.reason})"
            return Attempt(abstained=reason, finished=False)
        return found

    def _tell_in_words(self, reason: str) -> None:
        if self._takes_tools:
            self._takes_tools = False
            self._say(
                f"the student's endpoint takes no tools ({one_line(reason, 120)}); it is told of "
                "them in words (tool_format=text)"
            )

    def _read(self, reply: Reply) -> Attempt:
        if reply.num_tokens is None and self._counts_tokens:
            self._counts_tokens = False
            self._say("the student's endpoint doesn't count tokens, so that none can be saved")
        return _attempt(reply)

    async def _reply(self, call: Call) -> Reply | Abstention:
        try:
            return await self._service.endpoint.ask(call)
        except CallError as error:
            return error.abstention


class _Form:
    """How a reply is kept."""

    def write(self, answer: Reply) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(answer), ensure_ascii=True)

    def read(self, text: str) -> Reply | None:
        """Return it again; None where what is there is damaged."""
        try:
            found = Reply(**json_value(text))
        except (ValueError, TypeError):
            return None
        count = found.num_tokens
        sound = isinstance(found.text, str) and isinstance(found.thoughts, str)
        called = isinstance(found.calls, list) and all(
            isinstance(one, list) and list(map(type, one)) == [str, str] for one in found.calls
        )
        counted = count is None or type(count) is int
        return found if sound and counted and (called or not found.calls) else None


def _attempt(reply: Reply) -> Attempt:
    text, thoughts, unfinished = apart(reply.text)
    unfinished = unfinished or bool(reply.thoughts and not text and not reply.finished)
    return Attempt(
        text=text,
        num_tokens=reply.num_tokens or 0,
        finished=reply.finished,
        thoughts="\n".join(filter(None, [reply.thoughts, thoughts])),
        withheld="unfinished_thoughts" if unfinished else "",
    )
