import math

import numpy as np
import pytest

from atlas.evaluation.stats import (
    Interval,
    bootstrap_of_means,
    paired_bootstrap,
    paired_bootstrap_saving,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # z = 1.959964, z² = 3.841459. For 8 of 10: centre (0.8 + 0.192073) / 1.384146 = 0.716740,
        # half 1.416010 · sqrt(0.016 + 0.009604) = 0.226577.
        (8, 10, 0.490163, 0.943317),
        # 0 of n: high = (z²/n) / (1 + z²/n); n of n mirrors it.
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
        (1, 1, 0.206549, 1.0),
        # Centre (0.97 + 0.004802) / 1.009604 = 0.965529,
        # half 1.941321 · sqrt(0.00007875) = 0.017228.
        (388, 400, 0.948301, 0.982757),
    ],
)
def test_wilson_equals_hand_worked_numbers(successes, trials, low, high):
    interval = wilson(successes, trials)

    assert interval.value == successes / trials
    assert interval.low == pytest.approx(low, abs=2e-6)
    assert interval.high == pytest.approx(high, abs=2e-6)


def test_wilson_covers_the_true_rate_at_about_the_level_asked_for():
    # Exact, not simulated: sum the binomial probabilities of the counts whose interval covers.
    trials, rate = 40, 0.9
    covered = sum(
        math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k)
        for k in range(trials + 1)
        if wilson(k, trials).low <= rate <= wilson(k, trials).high
    )

    assert 0.93 < covered < 0.98


@pytest.mark.parametrize(
    ("successes", "trials", "named"), [(0, 0, "trials"), (3, 2, "successes"), (-1, 2, "successes")]
)
def test_wilson_names_what_is_out_of_range(successes, trials, named):
    with pytest.raises(ValueError, match=named):
        wilson(successes, trials)


def test_the_mean_agrees_with_the_normal_approximation_where_that_holds():
    values = np.random.default_rng(3).normal(0.2, 1.0, size=500)

    interval = paired_bootstrap(values)

    half = 1.959964 * values.std(ddof=1) / math.sqrt(500)
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_the_interval_covers_the_true_mean_in_about_95_of_100_data_sets():
    generator = np.random.default_rng(8)
    data_sets = generator.choice([-1.0, 0.0, 1.0], p=[0.05, 0.65, 0.3], size=(400, 80))

    intervals = [paired_bootstrap(values, resamples=400) for values in data_sets]

    covered = np.mean([interval.low <= 0.25 <= interval.high for interval in intervals])
    # Two standard errors of a share of 400 are 0.022.
    assert 0.92 < covered < 0.98


def test_the_saving_weighs_tokens_and_resamples_pairs():
    # Two pairs drawn twice: (1, 1) saves 1 - 100/200, (1, 2) saves 1 - 100/400, (2, 2) saves
    # 1 - 100/600, with probabilities 1/4, 1/2, 1/4; so the 2.5 % quantiles are the outer values.
    interval = paired_bootstrap_saving([100, 300], [50, 50])

    assert interval.value == pytest.approx(0.75)
    assert interval.low == pytest.approx(0.5)
    assert interval.high == pytest.approx(1 - 100 / 600)


def test_pairing_cancels_what_both_answers_share():
    # The tasks differ in length a hundredfold, the saving is a third in each of them.
    alone = np.geomspace(10, 1000, 60)

    interval = paired_bootstrap_saving(alone, alone * 2 / 3)

    assert interval.high - interval.low < 1e-9


def test_equal_differences_leave_no_width():
    interval = paired_bootstrap([0.1] * 7)

    assert interval.low == pytest.approx(0.1)
    assert interval.high == pytest.approx(0.1)


def test_one_pair_is_its_own_interval():
    assert paired_bootstrap([3.0]) == Interval(value=3.0, low=3.0, high=3.0)


def test_the_seed_alone_decides_the_draws():
    values = np.random.default_rng(0).normal(size=50)

    assert paired_bootstrap(values, seed=1) == paired_bootstrap(values, seed=1)
    assert paired_bootstrap(values, seed=1) != paired_bootstrap(values, seed=2)


def test_many_pairs_are_drawn_in_chunks_with_the_same_law(monkeypatch):
    values = np.random.default_rng(0).normal(size=30)
    whole = paired_bootstrap(values, resamples=100)

    monkeypatch.setattr("atlas.evaluation.stats._DRAWS_PER_CHUNK", 90)

    assert paired_bootstrap(values, resamples=100) == whole


def test_a_ratio_to_zero_is_reported_not_raised():
    interval = bootstrap_of_means([[0.0, 0.0], [1.0, 1.0]], lambda means: means[1] / means[0])

    assert not interval.is_finite


@pytest.mark.parametrize(
    ("values", "message"),
    [([], "values_N is empty"), ([1.0, float("nan")], "values_N"), ([[1.0]], "one dimension")],
)
def test_bad_values_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(values)


def test_bad_options_and_columns_are_named():
    with pytest.raises(ValueError, match="resamples"):
        paired_bootstrap([1.0], resamples=0)
    with pytest.raises(ValueError, match=r"length: \[2, 1\]"):
        paired_bootstrap_saving([1, 2], [1])
    with pytest.raises(ValueError, match="alone_N must be above zero"):
        paired_bootstrap_saving([0, 2], [1, 1])
