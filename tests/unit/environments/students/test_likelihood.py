"""The dense reward: log-likelihood of the answer with minus without a teaching."""

from __future__ import annotations

import pytest
import torch
from tests.unit.tiny_models import other_end, tiny_renderer
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from atlas.environments.students.likelihood import AnswerLikelihood, lots
from atlas.types import Task, Tokens


def by_hand(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, prompt: list[int], answer: str
) -> float:
    """Mean log-probability of the answer after ``Answer:``, from plain logits."""
    lead = tokenizer.encode("Answer:", add_special_tokens=False)
    end = 2 if "<|system|>' }}" in str(tokenizer.chat_template) else 1
    target = [*tokenizer.encode(f" {answer}", add_special_tokens=False), end]
    ids = torch.tensor([[*prompt, *lead, *target]])
    with torch.no_grad():
        logprobs = model(input_ids=ids).logits[0].log_softmax(-1)
    first = len(prompt) + len(lead)
    values = [logprobs[first + i - 1, token].item() for i, token in enumerate(target)]
    return sum(values) / len(values)


@pytest.mark.parametrize("ends", ["as the sequence", "in its own way"])
def test_gain_is_the_difference_of_mean_loglikelihoods(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, tasks: list[Task], ends: str
) -> None:
    """The answer's end counts: the one that the template ends a turn with."""
    tokenizer = tokenizer if ends == "as the sequence" else other_end(tokenizer)
    pairs = [(tasks[0], "A = 1 + 2."), (tasks[1], "Take your time."), (tasks[0], "B.")]
    renderer = tiny_renderer(tokenizer)
    gains = AnswerLikelihood(model, renderer).gains([t for t, _ in pairs], [s for _, s in pairs])
    for (task, teaching), gain in zip(pairs, gains, strict=True):
        taught = renderer.prompt("attempt", task=task.question, teaching=teaching)
        alone = renderer.prompt("baseline", task=task.question)
        expected = by_hand(model, tokenizer, taught, task.answer) - by_hand(
            model, tokenizer, alone, task.answer
        )
        assert gain == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [
        ([60] * 600, [256, 256, 88]),
        ([700] * 100, [46, 46, 8]),
        ([60] * 40 + [20_000] + [60] * 2, [40, 1, 2]),
        ([40_000, 40_000], [1, 1]),
        ([], []),
    ],
)
def test_long_prompts_are_scored_fewer_at_a_time(lengths: list[int], sizes: list[int]) -> None:
    rows = [Tokens.of([5] * (length - 1), [6]) for length in lengths]
    found = list(lots(rows))
    assert [len(lot) for lot in found] == sizes
    assert [row for lot in found for row in lot] == rows
    assert all(
        len(lot) * max(len(row.ids) for row in lot) <= 2**15 for lot in found if len(lot) > 1
    )
