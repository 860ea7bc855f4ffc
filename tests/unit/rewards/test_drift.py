"""A reward that rises alone, worked by hand; rates are measured by benchmarks/detectors.py."""

from __future__ import annotations

import pytest

from atlas.rewards.drift import CanaryReading, divergence, is_wordy, verbosity


def looks(
    rewards: list[float], canary: list[float], *, driver: str = "rim", noise: float = 0.01
) -> list[CanaryReading]:
    return [
        CanaryReading(
            step=20 * i,
            canary=right,
            num_tasks=200,
            rewards=(reward - noise, reward + noise),
            weighted={"uplift": 0.2, driver: reward - 0.2},
        )
        for i, (reward, right) in enumerate(zip(rewards, canary, strict=True), start=1)
    ]


def test_a_reward_that_rises_alone_names_its_part() -> None:
    found = divergence(looks([0.2, 0.2, 0.4, 0.6], [0.5, 0.5, 0.5, 0.48]))
    assert found is not None
    assert found.rise == pytest.approx(0.3)
    assert found.canary == pytest.approx(-0.01)
    assert (found.part, found.share) == ("rim", pytest.approx(1.0))
    assert str(found) == (
        "reward rose by 0.300 but the canary changed by -0.010; 100% of the rise is the part 'rim'"
    )


@pytest.mark.parametrize(
    ("rewards", "canary"),
    [
        ([0.2, 0.2, 0.4, 0.6], [0.5, 0.5, 0.7, 0.9]),  # both
        ([0.2, 0.2, 0.6, 0.6], [0.5, 0.5, 0.75, 0.75]),  # the canary by more than half as much
        ([0.2, 0.2, 0.2, 0.2], [0.5, 0.5, 0.4, 0.3]),  # no rise
        ([0.6, 0.6, 0.4, 0.2], [0.5, 0.5, 0.5, 0.5]),  # a fall
        ([0.2, 0.2, 0.22, 0.24], [0.5, 0.5, 0.5, 0.5]),  # too little to speak of
        ([0.2, 0.6, 0.8], [0.5, 0.5, 0.5]),  # too early to tell
        ([0.2, 0.2, 0.4, 0.6], [0.98, 0.98, 1.0, 1.0]),  # no room above
    ],
)
def test_no_alarm(rewards: list[float], canary: list[float]) -> None:
    assert divergence(looks(rewards, canary)) is None


def test_a_rise_within_the_noise_is_none() -> None:
    assert divergence(looks([0.2, 0.2, 0.3, 0.4], [0.5] * 4, noise=0.5)) is None


def test_verbosity_compares_the_last_steps_with_the_first() -> None:
    assert verbosity([10.0] * 19) == 1.0
    assert verbosity([10.0] * 10 + [15.0] * 5 + [25.0] * 10) == 2.5


def test_longer_teachings_are_wordy_only_where_they_are_no_better() -> None:
    lengths = [10.0] * 10 + [25.0] * 10
    assert is_wordy(lengths, [0.3] * 20)
    assert not is_wordy(lengths, [0.3] * 10 + [0.5] * 10)
    assert not is_wordy([10.0] * 10 + [15.0] * 10, [0.3] * 20)
