"""Advantages: hand-worked numbers, abstentions, dead groups and invariances."""

import math

import pytest
import torch
from reference import advantages_of_groups

from atlas.objectives.advantages import AdvantageScale, group_advantages

SCALES: tuple[AdvantageScale, ...] = ("group", "batch", "none")


def rewards_with_abstentions(rewards):
    """None -> (NaN, not scored)."""
    scored_PG = torch.tensor([[r is not None for r in group] for group in rewards])
    values = [[math.nan if r is None else r for r in group] for group in rewards]
    return torch.tensor(values, dtype=torch.float64), scored_PG


def advantages(rewards, scale: AdvantageScale = "group", eps=1e-4):
    rewards_PG, scored_PG = rewards_with_abstentions(rewards)
    return group_advantages(rewards_PG, scored_PG, scale, eps)


def test_group_scale_by_hand():
    # mean (1 + 2 + 6) / 3 = 3; differences -2, -1, 3
    # unbiased variance (4 + 1 + 9) / 2 = 7; std 2.6457513 (population: sqrt(14 / 3) = 2.16)
    result = advantages([[1.0, 2.0, 6.0]], "group", eps=0.0)
    expected = [-2 / math.sqrt(7), -1 / math.sqrt(7), 3 / math.sqrt(7)]
    assert result.advantages_PG[0].tolist() == pytest.approx(expected, abs=1e-12)


def test_eps_is_added_to_the_standard_deviation():
    # std of (0, 2) is sqrt(2); (2 - 1) / (sqrt(2) + 0.5)
    result = advantages([[0.0, 2.0]], "group", eps=0.5)
    assert result.advantages_PG[0, 1].item() == pytest.approx(1 / (math.sqrt(2) + 0.5))


def test_none_scale_by_hand():
    result = advantages([[1.0, 2.0, 6.0]], "none")
    assert result.advantages_PG.tolist() == [[-2.0, -1.0, 3.0]]


def test_batch_scale_by_hand():
    # Group means 1 and 10. All rewards 0, 2, 9, 11: mean 5.5,
    # squares 30.25 + 12.25 + 12.25 + 30.25 = 85; std sqrt(85 / 3)
    result = advantages([[0.0, 2.0], [9.0, 11.0]], "batch", eps=0.0)
    a = 1 / math.sqrt(85 / 3)
    assert result.advantages_PG.flatten().tolist() == pytest.approx([-a, a, -a, a], abs=1e-12)


@pytest.mark.parametrize("scale", SCALES)
def test_agrees_with_the_slow_reference(scale):
    rewards = [
        [0.3, None, 1.1, 0.9],
        [None, None, 0.2, None],
        [0.5, 0.5, None, 0.5],
        [-1.0, 2.5, 0.0, 0.75],
    ]
    result = advantages(rewards, scale)
    expected = torch.tensor(advantages_of_groups(rewards, scale, 1e-4), dtype=torch.float64)
    torch.testing.assert_close(result.advantages_PG, expected, rtol=1e-12, atol=1e-12)


def test_abstention_leaves_mean_and_std_and_gets_nothing():
    with_abstention = advantages([[1.0, None, 3.0]])
    without = advantages([[1.0, 3.0]])
    assert with_abstention.advantages_PG[0, [0, 2]].tolist() == without.advantages_PG[0].tolist()
    assert with_abstention.advantages_PG[0, 1].item() == 0.0
    assert with_abstention.used_PG.tolist() == [[True, False, True]]


@pytest.mark.parametrize("scale", SCALES)
def test_dead_groups_are_zero_and_counted_by_cause(scale):
    rewards = [
        [0.7, 0.7, 0.7],  # equal
        [0.1, 0.1 + 1e-9, None],  # equal within the tolerance
        [None, 1.0, None],  # one scored
        [None, None, None],  # none scored
        [0.0, 1.0, 0.0],  # live
    ]
    result = advantages(rewards, scale)
    assert result.live_P.tolist() == [False, False, False, False, True]
    assert (result.num_equal, result.num_too_few_scored, result.num_dead) == (2, 2, 4)
    assert not result.advantages_PG[:4].any()
    assert not result.used_PG[:4].any()


def test_singleton_group_is_dead():
    result = advantages([[1.0], [0.0]])
    assert result.too_few_scored_P.tolist() == [True, True]
    assert result.advantages_PG.tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("scale", SCALES)
def test_a_constant_added_to_a_groups_rewards_changes_nothing(scale):
    rewards_PG = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scored_PG = torch.ones(3, 5, dtype=torch.bool)
    # One constant for the whole batch; for "group" and "none" also one a group.
    shift = 7.5 if scale == "batch" else torch.tensor([[-3.0], [100.0], [0.25]])
    before = group_advantages(rewards_PG, scored_PG, scale).advantages_PG
    after = group_advantages(rewards_PG + shift, scored_PG, scale).advantages_PG
    torch.testing.assert_close(after, before, rtol=1e-11, atol=1e-11)


def test_group_scale_ignores_the_unit_of_the_reward():
    small = advantages([[0.0, 1.0, 4.0]], eps=0.0).advantages_PG
    large = advantages([[0.0, 1e3, 4e3]], eps=0.0).advantages_PG
    torch.testing.assert_close(large, small)


def test_order_of_members_and_groups_is_kept():
    rewards_PG = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    scored_PG = torch.ones(4, 3, dtype=torch.bool)
    rows, members = [2, 0, 3, 1], [1, 2, 0]
    direct = group_advantages(rewards_PG, scored_PG, "batch").advantages_PG[rows][:, members]
    permuted = group_advantages(rewards_PG[rows][:, members], scored_PG, "batch").advantages_PG
    torch.testing.assert_close(permuted, direct)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_scored_reward_that_is_not_finite_is_refused(bad):
    rewards_PG = torch.tensor([[0.0, 1.0], [bad, 1.0]])
    with pytest.raises(ValueError, match=r"groups \[1\]"):
        group_advantages(rewards_PG, torch.ones(2, 2, dtype=torch.bool))


def test_an_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="'batch'"):
        group_advantages(torch.zeros(1, 2), torch.ones(1, 2).bool(), "groups")  # pyright: ignore
