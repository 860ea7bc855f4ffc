"""A student that is a model with its weights at hand: in this process, or on vLLM servers."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any

from atlas.config.parts.answers import AUTO
from atlas.environments.actor import Actor
from atlas.environments.lengths import LengthProbe, longest_first, probed
from atlas.environments.students.likelihood import AnswerLikelihood
from atlas.environments.students.student import Student, opening_of
from atlas.environments.tools.acting import Acting, Form, is_over
from atlas.errors import AtlasError
from atlas.machine.background_loop import BackgroundLoop, side_by_side
from atlas.prompts import Message
from atlas.run.seeding import derive_seed
from atlas.types import Attempt, StudentTurn, Task, Utterance

PATIENCE_S = 90.0
"""Beyond the time of a call of a tool: what checks its arguments has to start first."""


class ModelStudent(Student):
    """A frozen model.

    Args:
        actor: The model, how it answers, and the engine that runs it.
        approach_tokens: Most tokens of the stated approach.
        likelihood: Of reference answers, where it is wanted.
        acting: Its way with tools, where it has some.
        roles: Its chat template is told of tools; else words tell of them.
    """

    def __init__(
        self,
        actor: Actor,
        *,
        approach_tokens: int = 32,
        answer_format: str = AUTO,
        likelihood: AnswerLikelihood | None = None,
        acting: Acting | None = None,
        roles: bool = False,
    ) -> None:
        self.actor, self.answer_format = actor, answer_format
        self.max_new_tokens = actor.sampling.max_new_tokens
        self._approach_tokens = approach_tokens
        self._likelihood, self.has_likelihood = likelihood, likelihood is not None
        self._acting = acting
        self._form: Form = "template" if roles else "text"
        self._loop = BackgroundLoop("tools")
        self._with_tools = actor.renderer
        if acting is not None:
            self.max_turns = acting.max_turns
            if roles:
                given = {**actor.renderer.template_kwargs, "tools": acting.toolbox.specs}
                self._with_tools = replace(actor.renderer, template_kwargs=given)

    def attempt(
        self,
        tasks: Sequence[Task],
        teachings: Sequence[str | None],
        *,
        seed: int = 0,
        before: Sequence[Attempt] | None = None,
    ) -> list[Attempt]:
        """See `Student.attempt`."""
        openings = self._openings(tasks, teachings, before)
        if self._acting is None:
            ids = [tuple(self.actor.renderer.encode(opening)) for opening in openings]
            return self._said(ids, seed)
        attempts, turn = [Attempt()] * len(tasks), 0
        while going := [place for place, one in enumerate(attempts) if not is_over(one)]:
            made = self._turn(
                [tasks[place] for place in going],
                [openings[place] for place in going],
                [attempts[place] for place in going],
                [""] * len(going),
                seed=derive_seed(seed, "turn", turn) if turn else seed,
            )
            for place, attempt in zip(going, made, strict=True):
                attempts[place] = attempt
            turn += 1
        return attempts

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
        return self._turn(tasks, self._openings(tasks, teachings), attempts, guidance, seed=seed)

    def close(self) -> None:
        """Close the tools."""
        self._loop.close()
        if self._acting is not None:
            self._acting.toolbox.close()

    def _turn(
        self,
        tasks: Sequence[Task],
        openings: Sequence[list[Message]],
        attempts: Sequence[Attempt],
        guidance: Sequence[str],
        *,
        seed: int,
    ) -> list[Attempt]:
        """Let all take one turn; an attempt that no turn more has room for ends without answer."""
        acting = self._acting
        assert acting is not None
        ids = [
            tuple(self._with_tools.encode(acting.messages(opening, so_far, said, self._form)))
            for opening, so_far, said in zip(openings, attempts, guidance, strict=True)
        ]
        fits = [place for place, prompt in enumerate(ids) if self.actor.has_room(len(prompt))]
        made = self._said([ids[place] for place in fits], seed)
        read = [acting.read(one.text) for one in made]
        after = self._wait(
            acting.after(
                tasks[place],
                attempts[place],
                replace(one, text=said.text),
                said.calls,
                guidance[place],
            )
            for place, one, said in zip(fits, made, read, strict=True)
        )
        grown = [
            replace(one, text="", finished=False, turns=(*one.turns, StudentTurn(text="")))
            for one in attempts
        ]
        for place, attempt in zip(fits, after, strict=True):
            grown[place] = attempt
        return grown

    def _wait(self, work: Iterable[Coroutine[Any, Any, Attempt]]) -> list[Attempt]:
        patience = PATIENCE_S + (self._acting.toolbox.timeout_s if self._acting else 0)
        try:
            return self._loop.submit(side_by_side(work)).result(patience)
        except TimeoutError as error:
            raise AtlasError(
                f"tools: one keeps everything else waiting for more than {patience:g} s; it must "
                "await what takes long, or not be async"
            ) from error

    def _said(self, ids: list[tuple[int, ...]], seed: int) -> list[Attempt]:
        # Equal prompts get equal answers when the student is greedy: compute each once.
        distinct = list(dict.fromkeys(ids)) if self.actor.sampling.temperature == 0 else ids
        made = self.actor.complete(distinct, seed=seed)
        answers = [Attempt.of(completion) for (completion,) in made]
        if distinct is ids:
            return answers
        by_prompt = dict(zip(distinct, answers, strict=True))
        return [by_prompt[prompt] for prompt in ids]

    def approach(self, tasks: Sequence[Task], *, seed: int = 0) -> list[Utterance]:
        """See `Student.approach`."""
        asked = [self.actor.renderer.prompt("approach", task=t.question) for t in tasks]
        made = self.actor.with_limit(self._approach_tokens).complete(asked, seed=seed)
        return [Utterance.of(completion) for (completion,) in made]

    def gains(self, tasks: Sequence[Task], teachings: Sequence[str]) -> list[float] | None:
        """See `Student.gains`."""
        return None if self._likelihood is None else self._likelihood.gains(tasks, teachings)

    def prepare(self, tasks: Sequence[Task], *, teaching_tokens: int) -> None:
        """See `Student.prepare`."""
        longest = longest_first(tasks)
        prompt = max(map(len, self._prompts(longest, [""] * len(longest)))) + teaching_tokens
        self.actor.require_room("student", prompt, key="student_max_new_tokens")

    def probe(
        self, tasks: Sequence[Task], teachings: Sequence[str], *, seed: int
    ) -> list[LengthProbe]:
        """See `Student.probe`."""
        prompts = self._prompts(tasks, teachings)
        who, key = "attempts of the student", "student_max_new_tokens"
        return [probed(self.actor, prompts, seed=seed, who=who, key=key)[0]]

    def _prompts(
        self, tasks: Sequence[Task], teachings: Sequence[str | None]
    ) -> list[tuple[int, ...]]:
        """Return what it is asked first."""
        openings = self._openings(tasks, teachings)
        if self._acting is not None:
            new = Attempt()
            openings = [self._acting.messages(one, new, "", self._form) for one in openings]
        return [tuple(self._with_tools.encode(opening)) for opening in openings]

    def _openings(
        self,
        tasks: Sequence[Task],
        teachings: Sequence[str | None],
        before: Sequence[Attempt] | None = None,
    ) -> list[list[Message]]:
        return [
            opening_of(self.actor.renderer.prompts, task, teaching, so_far)
            for task, teaching, so_far in zip(
                tasks, teachings, before or [None] * len(tasks), strict=True
            )
        ]
