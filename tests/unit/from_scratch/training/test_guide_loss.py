from __future__ import annotations

import pytest
import torch
from tests.unit.tiny_models import other_end
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from atlas.from_scratch.training.guide_loss import compute_log_probs, grpo_loss

PROMPT = "Calculate 1 + 2."


def alone(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    response: str,
    end: str = "<|end|>",
) -> float:
    """The mean log-probability of a response and its end, in a row of its own."""
    start = tokenizer.encode(f"<|user|>{PROMPT}{end}<|assistant|>")
    ids = [*start, *tokenizer.encode(f"{response}{end}")]
    with torch.no_grad():
        logprobs_LV = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    found = [float(logprobs_LV[t - 1, ids[t]]) for t in range(len(start), len(ids))]
    return sum(found) / len(found)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16])
def test_it_is_the_guide_s_formula(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, count: int
) -> None:
    """Lines A24 to A29 written down with plain loops; responses of different lengths."""
    responses = [f"Answer: {'1' * (k + 1)}" for k in range(count)]
    rankings = [float(k % 3) for k in range(count)]  # with ties
    log_probs = torch.tensor([alone(model, tokenizer, response) for response in responses])
    preferences = torch.softmax(torch.tensor(rankings) * 0.7, dim=0)
    preference_loss = -(log_probs * preferences).sum()
    pairs = [
        -torch.sigmoid(log_probs[i] - log_probs[j]).log()
        for i in range(count)
        for j in range(count)
        if rankings[i] > rankings[j]
    ]
    pairwise_loss = torch.stack(pairs).mean() if pairs else torch.tensor(0.0)
    expected = preference_loss + 0.5 * pairwise_loss
    found = grpo_loss(model, tokenizer, PROMPT, responses, rankings, temperature=0.7)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-6)


def test_a_turn_ends_as_the_template_ends_it(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    found = compute_log_probs(model, other_end(tokenizer), PROMPT, ["Answer: 3"])
    expected = alone(model, tokenizer, "Answer: 3", end="<|system|>")
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_a_longer_companion_changes_nothing(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Padding: each response's log-probability is its own, whatever stands beside it."""
    short = compute_log_probs(model, tokenizer, PROMPT, ["3", "4"])
    padded = compute_log_probs(model, tokenizer, PROMPT, ["3", "4", "5 " * 40])
    torch.testing.assert_close(padded[:2], short, rtol=1e-6, atol=1e-6)


def test_a_step_down_makes_the_better_response_likelier(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    responses, rankings = ["Answer: 3", "Answer: 4"], [-1.0, -2.0]

    def margin() -> float:
        with torch.no_grad():
            better, worse = compute_log_probs(model, tokenizer, PROMPT, responses)
        return float(better - worse)

    before = margin()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    grpo_loss(model, tokenizer, PROMPT, responses, rankings).backward()
    optimizer.step()
    assert margin() > before


def test_rankings_must_be_as_many(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    with pytest.raises(ValueError, match="2 responses, but 1 rankings"):
        grpo_loss(model, tokenizer, PROMPT, ["a", "b"], [1.0])
    with pytest.raises(ValueError, match=r"2 responses, but 2 rankings of shape \[1, 2\]"):
        grpo_loss(model, tokenizer, PROMPT, ["a", "b"], torch.tensor([[1.0, 2.0]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_rankings_may_be_a_tensor(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype
) -> None:
    responses = ["Answer: 3", "Answer: 4"]
    expected = grpo_loss(model, tokenizer, PROMPT, responses, [2.0, 1.0])
    found = grpo_loss(model, tokenizer, PROMPT, responses, torch.tensor([2, 1], dtype=dtype))
    assert found.item() == expected.item()


def test_there_must_be_a_response(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    with pytest.raises(ValueError, match="responses is empty; give one at least"):
        grpo_loss(model, tokenizer, PROMPT, [], [])
    with pytest.raises(ValueError, match="responses is empty; give one at least"):
        compute_log_probs(model, tokenizer, PROMPT, [])
