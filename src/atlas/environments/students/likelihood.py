"""The dense part of the reward: how likely the student finds the reference answer.

Input: prompts of the student and reference answers. Output: mean log-likelihood (nats a token) of
each answer right after its prompt, from a prefill alone; nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedModel

from atlas.models.passes.forward import logprobs
from atlas.planning.memory_plan import SCORED_TOKENS
from atlas.prompts.renderer import Renderer
from atlas.types import Task, Tokens

_ROWS = 256
"""Of one pass, at most."""
_LEAD = "Answer:"


class AnswerLikelihood:
    """Scores reference answers under the frozen student; without teaching, once per task."""

    def __init__(self, model: PreTrainedModel, renderer: Renderer) -> None:
        self.model = model
        self.renderer = renderer
        self._alone: dict[str, float] = {}

    def gains(self, tasks: Sequence[Task], teachings: Sequence[str]) -> list[float]:
        """Return log p(answer | taught) - log p(answer | alone) for each pair, nats a token.

        0 where the task has no reference answer.
        """
        if any(not task.answer for task in tasks):
            asked = [pair for pair in zip(tasks, teachings, strict=True) if pair[0].answer]
            found = iter(self.gains([t for t, _ in asked], [s for _, s in asked]) if asked else ())
            return [next(found) if task.answer else 0.0 for task in tasks]
        new = list({task.id: task for task in tasks if task.id not in self._alone}.values())
        prompt = self.renderer.prompt
        alone = self._score([(t, prompt("baseline", task=t.question)) for t in new])
        self._alone.update((task.id, value) for task, value in zip(new, alone, strict=True))
        taught = self._score(
            [
                (t, prompt("attempt", task=t.question, teaching=teaching))
                for t, teaching in zip(tasks, teachings, strict=True)
            ]
        )
        return [value - self._alone[t.id] for t, value in zip(tasks, taught, strict=True)]

    @torch.inference_mode()
    def _score(self, asked: Sequence[tuple[Task, list[int]]]) -> list[float]:
        lead = self.renderer.text(_LEAD)
        rows = [
            # With its end: "1" is no part of "14".
            Tokens.of(
                [*prompt, *self.renderer.lead(prompt), *lead],
                self.renderer.answer(f" {task.answer}"),
            )
            for task, prompt in asked
        ]
        values: list[float] = []
        for lot in lots(rows):
            found = logprobs(self.model, lot)
            values += (found.logprobs_BT.sum(dim=1) / found.mask_BT.sum(dim=1)).tolist()
        return values


def lots(rows: Sequence[Tokens]) -> Iterator[Sequence[Tokens]]:
    """Yield rows in their order, as many at a time as one pass has room for.

    Of long prompts fewer: 256 rows of 700 tokens would be 180,000, more beside a model of 4 billion
    weights than all that is trained.
    """
    start = longest = 0
    for place, row in enumerate(rows):
        longest = max(longest, len(row.ids))
        taken = place - start
        if taken and (taken == _ROWS or (taken + 1) * longest > SCORED_TOKENS):
            yield rows[start:place]
            start, longest = place, len(row.ids)
    if start < len(rows):
        yield rows[start:]
