"""Pairs of sampled tokens follow the model, and are reported with its log-probabilities.

The expected law comes from plain forward passes of `transformers`. Seeds are fixed, so a test
passes always or never; the bound is the 1 - 1e-6 quantile, far out for a right sampler, and a law
that is off by a few per cent exceeds it many times.

Shapes: V vocabulary.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from tests.unit.tiny_models import END, VOCAB, tiny_model, tiny_tokenizer
from torch import Tensor
from transformers import PreTrainedModel

from atlas.rollouts.generator import Sampling
from atlas.rollouts.local.engine import LocalGenerator

PROMPT = (5, 9, 13)
NUM_SAMPLES = 20_000
FEWEST = 5
"""Outcomes that are expected less often than this are counted together."""
NORMAL_QUANTILE = 4.753
"""Of 1 - 1e-6."""


def law(model: PreTrainedModel, ids: tuple[int, ...], sampling: Sampling) -> Tensor:
    """The distribution of the next token [V], from a plain forward pass and the definition."""
    net: Any = model
    with torch.no_grad():
        logits_V = net(torch.tensor([ids])).logits[0, -1].double()
    probs_V = (logits_V / sampling.temperature).softmax(-1)
    kept: list[int] = []
    for token in probs_V.argsort(descending=True).tolist():  # the one that crosses top_p is kept
        if sum(probs_V[kept].tolist()) >= sampling.top_p:
            break
        kept.append(token)
    cut_V = torch.zeros(VOCAB, dtype=torch.float64)
    cut_V[kept] = probs_V[kept]
    return cut_V / cut_V.sum()


def assert_follows(counts: Counter[Any], expected: dict[Any, float]) -> None:
    """Pearson's chi-square against the bound (Wilson and Hilferty 1931)."""
    assert not counts.keys() - expected.keys(), "something was drawn that can't be"
    total = counts.total()
    rare = [outcome for outcome, share in expected.items() if share * total < FEWEST]
    cells = [(counts[o], share * total) for o, share in expected.items() if o not in rare]
    if rare:
        together = sum(expected[o] for o in rare) * total
        cells.append((sum(counts[o] for o in rare), max(together, FEWEST)))
    statistic = sum((found - wanted) ** 2 / wanted for found, wanted in cells)
    freedom = len(cells) - 1
    assert freedom >= 3, "too few outcomes to test anything"
    part = 2 / (9 * freedom)
    bound = freedom * (1 - part + NORMAL_QUANTILE * math.sqrt(part)) ** 3
    assert statistic < bound, f"chi-square {statistic:.0f} with {freedom} degrees of freedom"


def draws(model: PreTrainedModel, sampling: Sampling) -> list[tuple[int, ...]]:
    """Many completions of one prompt."""
    engine = LocalGenerator(model, tiny_tokenizer())
    (group,) = engine.generate([PROMPT], sampling, num_samples=NUM_SAMPLES, seed=11)
    return [completion.token_ids for completion in group]


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_pairs_of_tokens_follow_the_law(top_p: float) -> None:
    """The second token's law depends on the first one's: the cache of each row is its own."""
    model = tiny_model(seed=1)
    sampling = Sampling(max_new_tokens=2, temperature=1.5, top_p=top_p)
    expected: dict[tuple[int, ...], float] = {}
    for first, share in enumerate(law(model, PROMPT, sampling).tolist()):
        if share == 0:
            continue
        if first == END:
            expected[(first,)] = share
            continue
        then = law(model, (*PROMPT, first), sampling).tolist()
        expected |= {(first, s): share * p for s, p in enumerate(then) if p > 0}
    assert_follows(Counter(draws(model, sampling)), expected)


def test_the_test_notices_a_law_that_is_slightly_off() -> None:
    """A temperature of 1.1 in place of 1 is enough."""
    model = tiny_model(seed=1)
    counts = Counter(ids[0] for ids in draws(model, Sampling(max_new_tokens=1, temperature=1.1)))
    probs = law(model, PROMPT, Sampling(max_new_tokens=1, temperature=1.0)).tolist()
    with pytest.raises(AssertionError, match="chi-square"):
        assert_follows(counts, dict(enumerate(probs)))


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3"])
def test_rollout_logprobs_are_those_of_rows_run_alone(kind: str) -> None:
    """In float32 to 1e-4, from plain forward passes without padding, cache or shared prompt."""
    model = tiny_model(kind, seed=3)
    net: Any = model
    prompts = [[5, 6, 7, 8, 9], [10], [11, 12, 13], [14, 15, 16, 17, 18, 19, 20]]
    sampling = Sampling(max_new_tokens=12, temperature=0.9, top_p=0.95)
    groups = LocalGenerator(model, tiny_tokenizer()).generate(
        prompts, sampling, num_samples=6, seed=2
    )
    rows = [completion for group in groups for completion in group]
    assert kind == "gemma3" or len({row.num_tokens for row in rows}) > 2
    for row in rows:
        ids = torch.tensor([[*row.prompt_ids, *row.token_ids]])
        with torch.no_grad():
            logprobs_LV = (net(ids).logits[0] / sampling.temperature).log_softmax(-1)
        first = len(row.prompt_ids) - 1
        fresh = [logprobs_LV[first + t, id].item() for t, id in enumerate(row.token_ids)]
        assert list(row.logprobs) == pytest.approx(fresh, abs=1e-4)
