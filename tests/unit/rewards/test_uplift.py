"""The reward of a teaching: worked numbers, and what must hold for any numbers."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from atlas.rewards.uplift import UpliftWeights, uplift_score
from atlas.types import Attempt, Leak, Lesson, Score, Task, Utterance, Verdict

WEIGHTS = UpliftWeights(dense=0.1, degrade_penalty=0.5, tokens=0.2)

LEAK = Leak(kind="stated", reason="states the answer 14")


def outcome(correct: bool, num_tokens: int = 100) -> Attempt:
    return Attempt(num_tokens=num_tokens, verdict=Verdict(score=float(correct), parsed=True))


def scored(
    alone: Attempt,
    taught: Attempt,
    *,
    teaching: int = 20,
    dense: float = 0.0,
    leak: Leak | None = None,
    weights: UpliftWeights = WEIGHTS,
) -> Score:
    lesson = Lesson(
        task=Task(question="2 + 3 * 4", answer="14", family=""),
        alone=alone,
        teaching=Utterance(num_tokens=teaching),
        attempt=taught,
        leak=leak,
    )
    return uplift_score(lesson, weights, dense=dense)


@pytest.mark.parametrize(
    ("alone", "taught", "dense", "value"),
    [
        # learned: 1, and 1 - (30 + 20) / 100 of the tokens saved: 0.2 * 0.5
        (outcome(False), outcome(True, 30), 0.0, 1.1),
        # learned, dearly: 1 - (180 + 20) / 100 = -1
        (outcome(False), outcome(True, 180), 0.0, 0.8),
        # learned, so dearly that the loss is cut at -1
        (outcome(False), outcome(True, 900), 0.0, 0.8),
        # right before and after, for fewer tokens: 0.2 * (1 - 70 / 100)
        (outcome(True), outcome(True, 50), 0.0, 0.06),
        # wrong before and after: tokens don't count, the dense part does
        (outcome(False), outcome(False, 10), 0.4, 0.04),
        (outcome(False), outcome(False, 10), -7.0, -0.1),
        (outcome(False), outcome(False, 10), 7.0, 0.1),
        # spoiled: -1 - 0.5, and nothing for the brevity
        (outcome(True), outcome(False, 10), 0.0, -1.5),
    ],
)
def test_by_hand(alone: Attempt, taught: Attempt, dense: float, value: float) -> None:
    assert scored(alone, taught, dense=dense).value == pytest.approx(value)


def test_every_part_is_told() -> None:
    found = scored(outcome(True), outcome(False, 10), dense=-0.3)
    assert found.parts == {
        "uplift": -1.0,
        "dense": -0.3,
        "degraded": 1.0,
        "tokens": 0.0,
        "leaked": 0.0,
        "uplift_abstained": 0.0,
    }
    assert found.reason == ""


def test_a_leak_is_told_with_its_reason_and_counts_as_not_right() -> None:
    found = scored(outcome(True), outcome(True, 10), dense=2.0, leak=LEAK)
    assert found.parts["leaked"] == found.parts["degraded"] == 1.0
    assert found.parts["tokens"] == 0.0
    assert found.parts["uplift"] == -1.0
    assert found.reason == "states the answer 14"
    assert scored(outcome(False), outcome(True), leak=LEAK).parts["leak_stated"] == 1.0


TOKENS = st.integers(1, 500)
DENSE = st.floats(-5, 5)
SOME_WEIGHTS = st.builds(
    UpliftWeights,
    dense=st.floats(0, 1),
    degrade_penalty=st.floats(0, 2),
    tokens=st.floats(0, 1),
)


@given(
    alone=st.builds(outcome, st.booleans(), TOKENS),
    leaked=st.builds(outcome, st.booleans(), TOKENS),
    honest=st.builds(outcome, st.just(False), TOKENS),
    lengths=st.tuples(TOKENS, TOKENS),
    dense=st.tuples(DENSE, DENSE),
    weights=SOME_WEIGHTS,
)
def test_a_leak_never_earns_more_than_an_honest_failure_and_never_anything(
    alone: Attempt,
    leaked: Attempt,
    honest: Attempt,
    lengths: tuple[int, int],
    dense: tuple[float, float],
    weights: UpliftWeights,
) -> None:
    """Of the same task, whatever the two teachings do to the student."""
    reward_of_leak = scored(
        alone, leaked, teaching=lengths[0], dense=dense[0], leak=LEAK, weights=weights
    ).value
    reward_of_failure = scored(
        alone, honest, teaching=lengths[1], dense=dense[1], leak=None, weights=weights
    ).value
    assert reward_of_leak is not None
    assert reward_of_failure is not None
    assert reward_of_leak <= reward_of_failure
    assert reward_of_leak <= 0


@given(
    was_right=st.booleans(),
    tokens=st.tuples(TOKENS, TOKENS, TOKENS),
    dense=st.tuples(DENSE, DENSE),
    weights=SOME_WEIGHTS,
)
def test_a_right_answer_beats_a_wrong_one_unless_the_small_parts_are_large(
    was_right: bool,
    tokens: tuple[int, int, int],
    dense: tuple[float, float],
    weights: UpliftWeights,
) -> None:
    assume(2 * weights.dense + weights.tokens < 1)
    right, wrong = (
        scored(
            outcome(was_right, tokens[0]),
            outcome(correct, tokens[1]),
            teaching=tokens[2],
            dense=signal,
            weights=weights,
        ).value
        for correct, signal in ((True, dense[0]), (False, dense[1]))
    )
    assert right is not None
    assert wrong is not None
    assert right > wrong


def test_what_each_part_adds_sums_to_the_value() -> None:
    found = scored(outcome(True), outcome(False, 10), dense=-0.3)
    assert found.weighted == {"uplift": -1.0, "dense": -0.03, "degraded": -0.5, "tokens": 0.0}
    assert sum(found.weighted.values()) == pytest.approx(found.value)


def test_an_answer_that_could_not_be_verified_is_an_abstention() -> None:
    untold = Attempt(num_tokens=9, verdict=Verdict(score=None, parsed=True, reason="took too long"))
    for alone, taught in ((untold, outcome(True)), (outcome(False), untold)):
        found = scored(alone, taught)
        assert (found.value, found.reason) == (None, "took too long")
        assert found.parts == {"leaked": 0.0, "uplift_abstained": 1.0}


def test_of_several_attempts_the_means_count() -> None:
    """Alone 1 of 2, taught 3 of 4: degraded in 1/2 · 1/4 of the pairs."""
    alone = Attempt.together([outcome(True), outcome(False)])
    taught = Attempt.together([outcome(True, 30)] * 3 + [outcome(False, 30)])
    score = scored(alone, taught)
    assert score.parts["uplift"] == 0.25
    assert score.parts["degraded"] == 0.125
    assert score.parts["tokens"] == pytest.approx(0.5 * 0.75)
    assert score.value == pytest.approx(0.25 - 0.5 * 0.125 + 0.2 * 0.375)


def test_where_nobody_counts_tokens_none_are_saved() -> None:
    score = scored(outcome(False, 0), outcome(True, 0))
    assert (score.value, score.parts["tokens"]) == (1.0, 0.0)
