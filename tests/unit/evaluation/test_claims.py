import pytest
from tests.unit.evaluation.outcomes import UNTOLD, arm_of, outcome, pair

from atlas.errors import AtlasError
from atlas.evaluation.claims import (
    DEFINITIONS,
    Claim,
    claims_table,
    compare_arms,
    credited_attempt,
    measure_claims,
)
from atlas.evaluation.stats import Interval, wilson
from atlas.types import Attempt, Lesson, Task, Utterance, Verdict


def _measured(pairs):
    return {claim.name: claim for claim in measure_claims(pairs)}


def test_accuracy_claims_on_ten_tasks_worked_by_hand():
    # Alone right: 1 lost + 3 both = 4. Taught right: 4 gained + 3 both = 7. Not worse: 9 of 10.
    claims = _measured(arm_of("grpo", gained=4, lost=1, both=3, neither=2))

    assert claims["accuracy_alone"].value == pytest.approx(40)
    assert claims["accuracy_taught"].value == pytest.approx(70)
    assert claims["uplift"].value == pytest.approx(30)
    assert claims["non_degradation"].value == pytest.approx(90)
    assert claims["non_degradation"].interval == wilson(9, 10).scaled(100)
    assert claims["degraded_when_right"].interval == wilson(1, 4).scaled(100)
    assert claims["degraded_when_right"].num == 4
    assert claims["uplift"].num == 10


def test_token_completion_and_efficiency_claims_worked_by_hand():
    cut = outcome(False, 100, done=False)
    pairs = [
        pair(1, cut, outcome(True, 20), teaching_tokens=10),
        pair(2, outcome(True, 60), outcome(True, 20), teaching_tokens=30),
        pair(3, outcome(True, 40), outcome(True, 60), teaching_tokens=20),
        pair(4, outcome(False, 100), cut, teaching_tokens=20),
    ]

    claims = _measured(pairs)

    # Alone 300 tokens, taught 200, teaching 80. Completed: 3 of 4 both times.
    assert claims["student_tokens_saved"].value == pytest.approx(100 / 3)
    assert claims["net_tokens_saved"].value == pytest.approx(100 * (1 - 280 / 300))
    assert claims["completion_alone"].value == pytest.approx(75)
    assert claims["completion_taught"].value == pytest.approx(75)
    assert claims["completion_gain"].value == pytest.approx(0)
    assert claims["teaching_tokens"].value == pytest.approx(20)
    # Uplift 0.25, completion 0.75, 0.02 thousand tokens a teaching.
    assert claims["efficiency_score"].value == pytest.approx(0.25 * 0.75 / 0.02)


def test_completion_gain_is_told_in_points_and_relative():
    # The guide's own numbers: 69 -> 100 is 31 points and 45 % more.
    pairs = [pair(number, outcome(True, done=number < 69), outcome(True)) for number in range(100)]

    claims = _measured(pairs)

    assert claims["completion_gain"].value == pytest.approx(31)
    assert claims["completion_gain_relative"].value == pytest.approx(100 * 31 / 69)
    assert claims["completion_gain"].met
    assert claims["completion_gain_relative"].met
    assert claims["completion_taught"].met


def test_an_answer_that_ends_without_a_readable_result_is_not_completed():
    unread = Attempt(num_tokens=9, verdict=Verdict(score=0.0, parsed=False))

    claims = _measured([pair(1, outcome(True), unread), pair(2, outcome(True), outcome(True))])

    assert claims["completion_taught"].value == pytest.approx(50)


def test_a_leaking_teaching_earns_nothing_in_any_claim():
    gained = pair(1, outcome(False, 80, done=False), outcome(True, 5), leaked=True)
    spoiled = pair(2, outcome(True, 40), outcome(True, 50), leaked=True)

    claims = _measured([gained, spoiled])

    assert claims["accuracy_taught"].value == 0
    assert claims["uplift"].value == pytest.approx(-50)
    assert claims["non_degradation"].value == pytest.approx(50)
    assert claims["degraded_when_right"].value == pytest.approx(100)
    assert claims["completion_taught"].value == 0
    # 120 tokens alone; the first counts as 80 again, the second as the 50 it took.
    assert claims["student_tokens_saved"].value == pytest.approx(100 * (1 - 130 / 120))
    assert claims["leak_rate"].value == pytest.approx(100)


def test_without_a_leak_the_taught_outcome_counts_as_it_is():
    honest = pair(1, outcome(False), outcome(True, 7))

    assert credited_attempt(honest) is honest.attempt


def test_what_cannot_be_measured_is_none_and_neither_met_nor_missed():
    # Nothing right alone, nothing completed alone, no token taught.
    pairs = [pair(1, outcome(False, done=False), outcome(True), teaching_tokens=0)]

    claims = _measured(pairs)

    for name in ("degraded_when_right", "completion_gain_relative", "efficiency_score"):
        assert claims[name].interval is None
        assert claims[name].value is None
        assert claims[name].met is None
    assert claims["uplift"].value == pytest.approx(100)


@pytest.mark.parametrize(
    ("value", "guide", "met"),
    [(97.0, 97.0, True), (97.0 - 1e-12, 97.0, True), (96.9, 97.0, False), (99.0, None, None)],
)
def test_a_claim_is_met_from_the_guides_number_up(value, guide, met):
    claim = Claim(
        name="non_degradation",
        label="",
        interval=Interval(value=value, low=90, high=100),
        unit="%",
        guide_value=guide,
        guide_text="",
        num=1,
    )

    assert claim.met is met


def test_the_guides_numbers_are_those_of_the_guide():
    guide = {name: definition.guide_value for name, definition in DEFINITIONS.items()}

    assert guide["uplift"] == 15.7
    assert guide["non_degradation"] == 97
    assert guide["student_tokens_saved"] == 50
    assert guide["completion_taught"] == 100
    assert guide["completion_gain"] == 31


def test_arms_are_compared_task_by_task():
    # sft gains tasks 0 and 1 of 10, grpo gains 0 to 4: 3 tasks more.
    sft = arm_of("sft", gained=2, lost=0, both=0, neither=8)
    grpo = arm_of("grpo", gained=5, lost=0, both=0, neither=5)

    comparison = compare_arms(grpo, sft)

    assert (comparison.arm, comparison.baseline_arm, comparison.num) == ("grpo", "sft", 10)
    assert comparison.interval.value == pytest.approx(30)
    assert comparison.interval.low == pytest.approx(0)
    assert not comparison.is_above_zero


def test_a_comparison_is_mirrored_when_the_arms_are_swapped():
    sft = arm_of("sft", gained=10, lost=0, both=20, neither=70)
    grpo = arm_of("grpo", gained=60, lost=0, both=20, neither=20)

    forth, back = compare_arms(grpo, sft).interval, compare_arms(sft, grpo).interval

    assert forth.value == pytest.approx(-back.value)
    assert forth.low == pytest.approx(-back.high, abs=1.0)
    assert forth.low > 0


def test_the_order_of_the_pairs_changes_nothing():
    pairs = arm_of("grpo", gained=30, lost=5, both=40, neither=25)
    others = arm_of("sft", gained=20, lost=5, both=40, neither=35)

    assert measure_claims(pairs[::-1]) == measure_claims(pairs)
    assert compare_arms(pairs[::-1], others) == compare_arms(pairs, others)


def test_arms_on_different_tasks_are_refused_by_name():
    sft = arm_of("sft", gained=2, lost=0, both=0, neither=3)
    grpo = arm_of("grpo", gained=2, lost=0, both=0, neither=4)

    with pytest.raises(AtlasError, match=r"'grpo' and 'sft'.*1 belong to only one"):
        compare_arms(grpo, sft)


def test_a_task_twice_or_no_task_is_refused():
    once = pair(1, outcome(True), outcome(True))

    with pytest.raises(AtlasError, match="2 times in arm 'grpo'"):
        measure_claims([once, once])
    with pytest.raises(AtlasError, match="no paired outcomes"):
        claims_table([])


def test_the_table_compares_each_arm_with_those_before_it():
    arms = {"untrained": 1, "sft": 2, "grpo": 4}
    pairs = [
        row
        for arm, gained in arms.items()
        for row in arm_of(arm, gained=gained, lost=0, both=0, neither=8 - gained)
    ]

    table = claims_table(pairs)

    assert table.num_tasks == 8
    assert list(table.arms) == list(arms)
    gains = {(row.arm, row.baseline_arm): row.interval.value for row in table.comparisons}
    assert gains == pytest.approx(
        {("sft", "untrained"): 12.5, ("grpo", "untrained"): 37.5, ("grpo", "sft"): 25.0}
    )


def test_a_task_that_a_verifier_could_not_tell_about_is_out_of_every_arm() -> None:
    pairs = [
        pair(0, outcome(False), outcome(True), arm="sft"),
        pair(1, outcome(False), outcome(True), arm="sft"),
        pair(0, outcome(False), outcome(True), arm="grpo"),
        pair(1, outcome(False), UNTOLD, arm="grpo"),
    ]
    table = claims_table(pairs)
    assert table.num_tasks == 1
    assert table.arms == claims_table([pairs[0], pairs[2]]).arms


def several(*right: bool) -> Attempt:
    """Attempts of one student at one task."""
    return Attempt.together(
        [
            Attempt(text="x", num_tokens=10, verdict=Verdict(score=float(one), parsed=True))
            for one in right
        ]
    )


def test_of_several_samples_the_means_count_and_intervals_are_over_tasks() -> None:
    """Five times over, by hand: alone 1/2, 0, 1/2, 1; taught 1, 1/2, 1/2, 1/2."""
    alone = [several(True, False), several(False, False), several(True, False), several(True, True)]
    taught = [several(True, True), several(True, False), several(False, True), several(True, False)]
    pairs = [
        Lesson(
            task=Task(question=str(n), answer="x", family="f"),
            alone=alone[n % 4],
            attempt=taught[n % 4],
            teaching=Utterance(text="t", num_tokens=3),
            arm="a",
        )
        for n in range(20)
    ]
    claims = {claim.name: claim for claim in measure_claims(pairs)}
    assert claims["accuracy_alone"].value == pytest.approx(50)
    assert claims["accuracy_taught"].value == pytest.approx(62.5)
    assert claims["uplift"].value == pytest.approx(12.5)
    # A pair of two attempts is degraded: 0, 0, 1/2 · 1/2, 1 · 1/2.
    assert claims["non_degradation"].value == pytest.approx(100 * (1 - 0.75 / 4))
    assert claims["degraded_when_right"].value == pytest.approx(100 * 0.75 / 2)
    assert claims["degraded_when_right"].num == 15
    interval = claims["accuracy_taught"].interval
    assert interval is not None
    # The tasks differ less than chance alone would have them: all trials count, and no more.
    assert interval == wilson(0.625 * 40, 40).scaled(100)
    # Alone they differ by 1/8, half of what single trials do: worth twice as many.
    assert claims["accuracy_alone"].interval == wilson(20.0, 40.0).scaled(100)


def test_where_nobody_counts_tokens_none_are_claimed() -> None:
    right = Attempt(text="x", verdict=Verdict(score=1.0, parsed=True))
    task = Task(question="q", answer="x", family="f")
    teaching = Utterance(text="t", num_tokens=3)
    lesson = Lesson(task=task, alone=right, attempt=right, teaching=teaching, arm="a")
    claims = {claim.name: claim for claim in measure_claims([lesson])}
    assert claims["student_tokens_saved"].interval is claims["net_tokens_saved"].interval is None
    assert claims["accuracy_taught"].value == 100


def test_the_rules_by_which_completed_answers_were_read_are_counted():
    by_word, boxed = outcome(True, rule="answer"), outcome(False, rule="boxed")
    cut = outcome(False, done=False, rule="answer")
    pairs = [
        pair(1, by_word, by_word),
        pair(2, boxed, by_word),
        pair(3, by_word, by_word, leaked=True),
        pair(4, cut, boxed),
        pair(5, by_word, by_word),
    ]

    table = claims_table(pairs)

    # A leak completes nothing, and what was cut off isn't counted either.
    assert table.read_by["alone"] == pytest.approx({"answer": 75, "boxed": 25})
    assert table.read_by["grpo"] == pytest.approx({"answer": 75, "boxed": 25})
    assert list(table.read_by["grpo"]) == ["answer", "boxed"]


def test_a_verifier_without_rules_tells_none():
    assert claims_table([pair(1, outcome(True), outcome(True))]).read_by == {
        "alone": {},
        "grpo": {},
    }
