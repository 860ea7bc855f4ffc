"""The law of what is sampled: frequencies against the model's own distribution, by chi-square.

The seed is fixed, so these tests always find the same numbers: they can't fail by chance.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from tests.unit.tiny_models import VOCAB, tiny_model, tiny_tokenizer

from atlas.rollouts.generator import Sampling
from atlas.rollouts.local.engine import LocalGenerator

NUM_DRAWS = 6_000
PROMPT = [5, 9, 12]

LAWS: list[dict[str, Any]] = [
    {"temperature": 1.0},
    {"temperature": 1.7},
    {"temperature": 0.6},
    {"temperature": 1.5, "top_p": 0.8},
    {"temperature": 1.5, "top_p": 0.3},
    {"temperature": 1.5, "top_k": 7},
    {"temperature": 1.5, "min_p": 0.2},
    {"temperature": 1.5, "top_k": 20, "top_p": 0.7},
    {"temperature": 1.5, "top_p": 0.9, "min_p": 0.15},
    {"temperature": 1.5, "repetition_penalty": 1.8},
]


def expected_probs(logits: list[float], seen: set[int], how: dict[str, Any]) -> list[float]:
    """The law by loops and sorting, as simply as it can be written."""
    penalty = how.get("repetition_penalty", 1.0)
    logits = [
        (x / penalty if x > 0 else x * penalty) if i in seen else x for i, x in enumerate(logits)
    ]
    values = torch.tensor(logits, dtype=torch.float64) / how["temperature"]
    probs = values.softmax(-1).tolist()
    order = sorted(range(len(probs)), key=lambda i: -probs[i])
    order = order[: how.get("top_k", len(order))]
    total = sum(probs[i] for i in order)
    kept, held = [], 0.0
    for i in order:
        if held < how.get("top_p", 1.0) * total:
            kept.append(i)
            held += probs[i]
    kept = [i for i in kept if probs[i] >= how.get("min_p", 0.0) * probs[order[0]]]
    held = sum(probs[i] for i in kept)
    return [probs[i] / held if i in kept else 0.0 for i in range(len(probs))]


def chi_square_quantile(degrees: int) -> float:
    """The 99.9 % quantile (Wilson and Hilferty 1931), a little high for few degrees."""
    part = 2 / (9 * degrees)
    return degrees * (1 - part + 3.09 * part**0.5) ** 3


@pytest.mark.parametrize("how", LAWS, ids=str)
def test_sampled_tokens_follow_the_models_distribution(how: dict[str, Any]) -> None:
    """First tokens, and second tokens after the commonest first one."""
    model = tiny_model("qwen3", seed=2)
    engine = LocalGenerator(model, tiny_tokenizer(), max_rows=NUM_DRAWS)
    sampling = Sampling(max_new_tokens=2, **how)
    (group,) = engine.generate([PROMPT], sampling, num_samples=NUM_DRAWS, seed=4)
    firsts = [completion.token_ids[0] for completion in group]
    common = max(set(firsts) - {1}, key=firsts.count)
    seconds = [c.token_ids[1] for c in group if c.token_ids[0] == common]
    assert len(seconds) > 300
    for context, tokens in ((PROMPT, firsts), ([*PROMPT, common], seconds)):
        with torch.no_grad():
            logits = model(torch.tensor([context])).logits[0, -1].tolist()
        probs = expected_probs(logits, set(context), how)
        assert {token for token in range(VOCAB) if probs[token] == 0}.isdisjoint(tokens)
        # Tokens that are expected less than five times are counted together.
        rare = [i for i in range(VOCAB) if 0 < probs[i] * len(tokens) < 5]
        cells = [[i] for i in range(VOCAB) if probs[i] and i not in rare]
        cells += [rare] if sum(probs[i] for i in rare) * len(tokens) >= 5 else []
        counts, distance = Counter(tokens), 0.0
        for cell in cells:
            wanted = sum(probs[i] for i in cell) * len(tokens)
            distance += (sum(counts[i] for i in cell) - wanted) ** 2 / wanted
        assert len(cells) > 1
        assert distance < chi_square_quantile(len(cells) - 1)
