"""A student behind an OpenAI-compatible chat API: prompts as messages, replies as attempts.

It has no log-probabilities. How calls are paced, counted, kept and given up is the client's.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict

from atlas.config.parts.answers import AUTO
from atlas.config.parts.student import StudentConfig
from atlas.endpoint.budget import Usage
from atlas.endpoint.cache import content_key
from atlas.endpoint.client import Call, Reply
from atlas.endpoint.failures import Abstention, CallError
from atlas.endpoint.owner import STUDENT
from atlas.endpoint.service import Service, open_budget, open_cache
from atlas.endpoint.tally import Tally
from atlas.environments.lengths import LengthProbe
from atlas.environments.students.elsewhere import Elsewhere
from atlas.json_file import json_value
from atlas.prompts import PromptKind, Prompts
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
        super().__init__(config, answer_format=answer_format)

    @property
    def spent(self) -> Usage:
        """What all calls cost, with what was given as spent."""
        return self._budget.spent

    def approach(self, tasks: Sequence[Task], *, seed: int = 0) -> list[Utterance]:
        """See `Student.approach`."""
        limit = self._approach_tokens
        return [*self._wait(self._said("approach", limit, task=t.question) for t in tasks)]

    def probe(
        self, tasks: Sequence[Task], teachings: Sequence[str], *, seed: int
    ) -> list[LengthProbe]:
        """See `Student.probe`."""
        limit = self.max_new_tokens
        made = self._wait(
            self._said("attempt", 2 * limit, task=task.question, teaching=teaching)
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

    def _tally(self) -> Tally:
        return Tally(usage=self.spent, outcomes=Counter(self._service.outcomes))

    async def _attempt(
        self, task: Task, teaching: str | None, sample: int, before: Attempt | None
    ) -> Attempt:
        limit, asked = self.max_new_tokens, {"task": task.question}
        if teaching is None:
            return await self._said("baseline", limit, sample, **asked)
        asked["teaching"] = teaching
        if before is None:
            return await self._said("attempt", limit, sample, **asked)
        return await self._said("revise", limit, sample, **asked, attempt=before.text)

    async def _said(
        self, kind: PromptKind, max_tokens: int, sample: int = 0, **values: str
    ) -> Attempt:
        given = self._prompts.template_kwargs("student")
        call = Call(
            messages=self._prompts.render(kind, **values),
            temperature=self._config.student_temperature,
            max_tokens=max_tokens,
            extra={"chat_template_kwargs": dict(given)} if given else {},
        )
        asked = [_KEPT_AS, await self._service.endpoint.address(), asdict(call), sample]
        found = await self._service.answer(content_key(asked), lambda: self._reply(call), _Form())
        if isinstance(found, Abstention):
            reason = f"the student gave no answer ({found.kind.replace('_', ' ')}: {found.reason})"
            return Attempt(abstained=reason, finished=False)
        if found.num_tokens is None and self._counts_tokens:
            self._counts_tokens = False
            self._say("the student's endpoint doesn't count tokens, so that none can be saved")
        return _attempt(found)

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
        return found if sound and (count is None or type(count) is int) else None


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
