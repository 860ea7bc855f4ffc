"""Numbers by place: uniform, independent of one another, equal for equal places."""

from __future__ import annotations

import math

import torch

from atlas.rollouts.local.chance import row_keys, uniforms

CPU = torch.device("cpu")


def numbers(seed: int, num_prompts: int, num_samples: int, num_tokens: int) -> torch.Tensor:
    """[P, G, T]"""
    keys_PG = row_keys(seed, num_prompts, num_samples, CPU)
    return torch.stack(
        [uniforms(keys_PG, torch.full_like(keys_PG, t)) for t in range(num_tokens)], dim=-1
    )


def test_the_finaliser_is_that_of_splitmix64() -> None:
    """The first two outputs of SplitMix64 with state 0, worked out with Python's integers."""
    mask = (1 << 64) - 1

    def mixed(value: int) -> int:
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & mask
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB & mask
        return value ^ (value >> 31)

    def hashed(value: int) -> int:
        return mixed((value + 1) * 0x9E3779B97F4A7C15 & mask)

    assert mixed(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF  # the published first output
    key = row_keys(0, 1, 1, CPU)
    assert int(key) & mask == hashed(hashed(hashed(0)))
    found = uniforms(key, torch.zeros_like(key)).item()
    expected = hashed(hashed(hashed(hashed(hashed(0)))) + 0)
    assert found == (expected >> 40) / 2**24


def test_they_are_uniform_and_every_place_has_its_own() -> None:
    """Chi-square over 100 bins; 148.2 is the 99.9 % quantile at 99 degrees of freedom."""
    found = numbers(7, 40, 50, 50).flatten()
    assert found.min() >= 0
    assert found.max() < 1
    counts = torch.bincount((found * 100).long(), minlength=100)
    assert ((counts - 1000) ** 2 / 1000).sum() < 148.2
    assert len(found.unique()) > 0.99 * len(found) * (1 - len(found) / 2**25)


def test_neighbours_in_every_direction_are_uncorrelated() -> None:
    found = numbers(3, 60, 60, 60).double() - 0.5
    other_seed = numbers(4, 60, 60, 60).double() - 0.5
    limit = 4 / math.sqrt(60**3)  # four standard errors
    pairs = [(found[1:], found[:-1]), (found[:, 1:], found[:, :-1])]
    pairs += [(found[..., 1:], found[..., :-1]), (found, other_seed)]
    for left, right in pairs:
        assert abs((left * right).mean() * 12) < limit


def test_a_row_keeps_its_numbers_whatever_stands_beside_it() -> None:
    assert torch.equal(numbers(5, 2, 3, 4), numbers(5, 9, 8, 4)[:2, :3])


def test_another_attempt_is_another_number() -> None:
    keys = row_keys(5, 30, 30, CPU).flatten()
    places = torch.zeros_like(keys)
    first, second = (uniforms(keys, places, attempt).double() - 0.5 for attempt in (0, 1))
    assert abs((first * second).mean() * 12) < 4 / 30


def test_seeds_beyond_63_bits_are_taken() -> None:
    assert not torch.equal(row_keys(2**64 - 1, 1, 1, CPU), row_keys(2**63 - 1, 1, 1, CPU))
