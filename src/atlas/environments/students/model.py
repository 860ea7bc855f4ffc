"""A student that is a model with its weights at hand: in this process, or on vLLM servers."""

from __future__ import annotations

from collections.abc import Sequence

from atlas.config.parts.answers import AUTO
from atlas.environments.actor import Actor
from atlas.environments.lengths import LengthProbe, longest_first, probed
from atlas.environments.students.likelihood import AnswerLikelihood
from atlas.environments.students.student import Student
from atlas.types import Attempt, Task, Utterance


class ModelStudent(Student):
    """A frozen model.

    Args:
        actor: The model, how it answers, and the engine that runs it.
        approach_tokens: Most tokens of the stated approach.
        likelihood: Of reference answers, where it is wanted.
    """

    def __init__(
        self,
        actor: Actor,
        *,
        approach_tokens: int = 32,
        answer_format: str = AUTO,
        likelihood: AnswerLikelihood | None = None,
    ) -> None:
        self.actor, self.answer_format = actor, answer_format
        self.max_new_tokens = actor.sampling.max_new_tokens
        self._approach_tokens = approach_tokens
        self._likelihood, self.has_likelihood = likelihood, likelihood is not None

    def attempt(
        self,
        tasks: Sequence[Task],
        teachings: Sequence[str | None],
        *,
        seed: int = 0,
        before: Sequence[Attempt] | None = None,
    ) -> list[Attempt]:
        """See `Student.attempt`."""
        ids = self._prompts(tasks, teachings, before)
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
        self,
        tasks: Sequence[Task],
        teachings: Sequence[str | None],
        before: Sequence[Attempt] | None = None,
    ) -> list[tuple[int, ...]]:
        shown = [None] * len(tasks) if before is None else [one.text for one in before]
        return [
            tuple(self._prompt(task.question, teaching, text))
            for task, teaching, text in zip(tasks, teachings, shown, strict=True)
        ]

    def _prompt(self, task: str, teaching: str | None, attempt: str | None) -> list[int]:
        prompt = self.actor.renderer.prompt
        if teaching is None:
            return prompt("baseline", task=task)
        if attempt is None:
            return prompt("attempt", task=task, teaching=teaching)
        return prompt("revise", task=task, teaching=teaching, attempt=attempt)
