"""Are a model's own answers right? Greedy answers to prompts that it has not seen, verified.

Input: a model folder and tasks. Output: an `GreedyAnswer` a task, in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atlas.prompts.chat import encode
from atlas.rewards.verifiers import verify_all
from atlas.rollouts.generator import Sampling
from atlas.rollouts.local.engine import LocalGenerator
from atlas.types import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class GreedyAnswer:
    """One answer and what the task's verifier says of it."""

    text: str
    correct: bool
    num_tokens: int


def greedy_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[Task],
    *,
    max_new_tokens: int,
    max_rows: int = 512,
) -> list[GreedyAnswer]:
    """Return the model's greedy answer to each task's question, asked in a user's turn.

    Args:
        tokenizer: With a chat template.
        tasks: With their reference answers.
        max_new_tokens: Longer answers are cut, and mostly wrong then.
        max_rows: Answers written at a time; memory grows with them.
    """
    prompts = [encode(tokenizer, [{"role": "user", "content": task.question}]) for task in tasks]
    sampling = Sampling(max_new_tokens=max_new_tokens)
    completions = LocalGenerator(model, tokenizer, max_rows=max_rows).generate(prompts, sampling)
    firsts = [one for (one,) in completions]
    verdicts = verify_all(tasks, [one.text for one in firsts])
    return [
        GreedyAnswer(text=one.text, correct=verdict.correct, num_tokens=one.num_tokens)
        for one, verdict in zip(firsts, verdicts, strict=True)
    ]
