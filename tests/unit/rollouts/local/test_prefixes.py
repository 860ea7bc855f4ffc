"""Stems of prompts, against a search over all pairs."""

from __future__ import annotations

import random

from atlas.rollouts.local import prefixes
from atlas.rollouts.local.prefixes import stem_lengths

HEAD = tuple(range(100, 120))
TASK = tuple(range(200, 220))


def test_a_stem_is_the_longest_that_another_prompt_has_too() -> None:
    prompts = [
        (*HEAD, *TASK, 1, 2),
        (*HEAD, *TASK, 3),
        (*HEAD, 7, 7),
        (5, 6),
        (*HEAD, *TASK, 1, 4),  # one token more in common with the first: no stem of its own
    ]
    assert stem_lengths(prompts) == [40, 40, 20, 0, 40]


def test_what_is_short_or_single_has_none() -> None:
    assert stem_lengths([(*HEAD, 1)]) == [0]
    assert stem_lengths([(*HEAD[:15], 1), (*HEAD[:15], 2)]) == [0, 0]
    assert stem_lengths([(*HEAD[:16], 1), (*HEAD[:16], 2)]) == [16, 16]
    assert stem_lengths([]) == []


def test_a_token_stays_behind_the_stem() -> None:
    assert stem_lengths([HEAD, HEAD]) == [19, 19]
    assert stem_lengths([HEAD, (*HEAD, 1), (*HEAD, 2)]) == [19, 19, 19]


def test_any_prompts_begin_with_their_stems(monkeypatch) -> None:
    """Over random prompts of few tokens: stems are shared, and stems of stems come to an end."""
    monkeypatch.setattr(prefixes, "_SHORTEST", 2)
    for seed in range(200):
        rng = random.Random(seed)
        prompts = [
            tuple(rng.choices((1, 2), k=rng.randint(1, 9))) for _ in range(rng.randint(0, 12))
        ]
        for _ in range(10):
            lengths = stem_lengths(prompts)
            stems = [p[:n] for p, n in zip(prompts, lengths, strict=True) if n]
            for prompt, n in zip(prompts, lengths, strict=True):
                assert 0 <= n < len(prompt)
                assert n == 0 or sum(other[:n] == prompt[:n] for other in prompts) > 1
            prompts = list(dict.fromkeys(stems))
        assert not prompts
