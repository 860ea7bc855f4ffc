"""Two objectives over the same groups, against plain loops over single rows."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from atlas.data.ranked import RankedRecord
from atlas.from_scratch.training.batches import ranked_examples
from atlas.from_scratch.training.group_steps import (
    Precision,
    backward,
    likelihood_objective,
    ranked_objective,
)
from atlas.from_scratch.training.ranking import ranking_figures
from atlas.parallel.engine.protocol import StepInfo
from atlas.training.micro_batches import Group

RECORDS = [
    RankedRecord(prompt="1 + 1", responses=("2", "Answer: 3", "no"), scores=(-1.0, -2.0, -2.0)),
    RankedRecord(prompt="Calculate 2.", responses=("Answer: 2", "4"), scores=(-2.0, -1.0)),
]


class Kept:
    """An engine that only keeps gradients."""

    world_size = 1

    def __init__(self, model: LlamaForCausalLM) -> None:
        self.model = model

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def step(self) -> StepInfo:
        return StepInfo(grad_norm=0.0, learning_rate=0.0)


def alone(model: LlamaForCausalLM, example: Group) -> list[torch.Tensor]:
    """The log-probabilities of each response's tokens, each row run by itself."""
    found = []
    for row in example:
        logprobs_LV = model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
        places = range(row.prefix, len(row.ids))
        found.append(torch.stack([logprobs_LV[i - 1, row.ids[i]] for i in places]))
    return found


@pytest.fixture
def examples(tokenizer: PreTrainedTokenizerBase) -> list[Group]:
    made, _ = ranked_examples(RECORDS, tokenizer, max_length=100)
    return made


@pytest.mark.parametrize("max_tokens", [1, 10_000])
def test_pretraining_is_the_mean_over_all_tokens(
    model: LlamaForCausalLM, examples: list[Group], max_tokens: int
) -> None:
    precision = Precision(autocast=False, max_tokens=max_tokens)
    figures = backward(Kept(model), examples, likelihood_objective, precision)
    made = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    rows = [row for example in examples for row in alone(model, example)]
    loss = -torch.cat(rows).mean()
    loss.backward()
    assert figures["train/loss"] == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        assert torch.allclose(made[name], parameter.grad, rtol=1e-4, atol=1e-5), name


def test_the_ranked_stage_is_the_guide_s_formula(
    model: LlamaForCausalLM, examples: list[Group]
) -> None:
    """-(p · l) + 0.5 · mean over pairs of -log σ(l_i - l_j), mean over prompts."""
    objective = ranked_objective(
        sharpness=1.0, preference_weight=1.0, pairwise_weight=0.5, reduction="mean"
    )
    figures = backward(Kept(model), examples, objective, Precision(autocast=False, max_tokens=64))
    expected = 0.0
    for example in examples:
        l_K = torch.stack([row.mean() for row in alone(model, example)])
        s_K = torch.tensor([row.advantages[0] for row in example])
        first = -(s_K.softmax(0) * l_K).sum()
        pairs = [
            -torch.nn.functional.logsigmoid(l_K[i] - l_K[j])
            for i in range(len(s_K))
            for j in range(len(s_K))
            if s_K[i] > s_K[j]
        ]
        expected += (first + 0.5 * torch.stack(pairs).mean()).item() / len(examples)
    assert figures["train/loss"] == pytest.approx(expected, rel=1e-5)


def test_ranking_accuracy_counts_pairs_in_the_right_order(
    model: LlamaForCausalLM, examples: list[Group]
) -> None:
    right = total = 0
    with torch.no_grad():
        for example in examples:
            l_K = [row.mean().item() for row in alone(model, example)]
            scores = [row.advantages[0] for row in example]
            for i, better in enumerate(scores):
                for j, worse in enumerate(scores):
                    total += better > worse
                    right += better > worse and l_K[i] > l_K[j]
    found = ranking_figures(model, examples, Precision(autocast=False, max_tokens=64))
    assert (found.num_pairs, found.accuracy) == (total, right / total)
