"""The dense part of the reward: how likely the student finds the reference answer.

Input: prompts of the student and reference answers. Output: mean log-likelihood (nats a token) of
each answer right after its prompt, from a prefill alone; nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atlas.models.passes.forward import completion_logprobs
from atlas.models.passes.group_batch import group_batch
from atlas.prompts.chat import render_ids, token_id
from atlas.types import Task

_ROWS = 256
_LEAD = "Answer:"


class AnswerLikelihood:
    """Scores reference answers under the frozen student; without teaching, once per task.

    Args:
        model: The student.
        tokenizer: Its tokenizer.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self._alone: dict[str, float] = {}

    def gains(self, tasks: Sequence[Task], teachings: Sequence[str]) -> list[float]:
        """Return log p(answer | taught) - log p(answer | alone) for each pair, nats a token."""
        new = list({task.id: task for task in tasks if task.id not in self._alone}.values())
        alone = self._score(
            [(t, render_ids(self.tokenizer, "baseline", task=t.question)) for t in new]
        )
        self._alone.update((task.id, value) for task, value in zip(new, alone, strict=True))
        taught = self._score(
            [
                (t, render_ids(self.tokenizer, "attempt", task=t.question, teaching=teaching))
                for t, teaching in zip(tasks, teachings, strict=True)
            ]
        )
        return [value - self._alone[t.id] for t, value in zip(tasks, taught, strict=True)]

    @torch.inference_mode()
    def _score(self, asked: Sequence[tuple[Task, list[int]]]) -> list[float]:
        lead = self.tokenizer.encode(_LEAD, add_special_tokens=False)
        pad_id = int(self.model.config.pad_token_id or 0)
        values: list[float] = []
        for start in range(0, len(asked), _ROWS):
            rows = asked[start : start + _ROWS]
            batch = group_batch(
                [[*prompt, *lead] for _, prompt in rows],
                [self._answer_ids(task) for task, _ in rows],
                pad_id,
                device=self.model.device,
            )
            logprobs_BT = completion_logprobs(self.model, batch).logprobs_BT
            values += (logprobs_BT.sum(dim=1) / batch.mask_BT.sum(dim=1)).tolist()
        return values

    def _answer_ids(self, task: Task) -> list[int]:
        # With its end: "1" is no part of "14".
        answer = self.tokenizer.encode(f" {task.answer}", add_special_tokens=False)
        return [*answer, token_id(self.tokenizer, "eos")]
