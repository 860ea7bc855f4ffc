import pytest
from tests.unit.evaluation.outcomes import arm_of, outcome, pair

from atlas.evaluation.claims import claims_table
from atlas.report.text import (
    claim_text,
    number_text,
    ordered_arms,
    reading_text,
    rows_by_claim,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number_text(27.25, "points", signed=True), "+27.2 points"),
        (number_text(-0.04, "points", signed=True), "+0.0 points"),
        (number_text(-12.3, "%"), "-12.3 %"),
        (number_text(31, "tokens"), "31.0 tokens"),
        (number_text(9.46, "score"), "9.5"),
    ],
)
def test_numbers_carry_sign_and_unit(text, expected):
    assert text == expected


def test_arms_come_in_the_order_of_training_and_others_after_them():
    assert ordered_arms(["mine", "grpo", "untrained", "sft"]) == [
        "untrained",
        "sft",
        "grpo",
        "mine",
    ]


def test_a_claim_says_value_interval_and_whether_it_is_met():
    grpo = arm_of("grpo", gained=40, lost=0, both=40, neither=20)
    sft = arm_of("sft", gained=5, lost=5, both=35, neither=55)
    uplift = {row[0].name: row for row in rows_by_claim(claims_table(grpo + sft))}["uplift"]
    first, last = map(claim_text, uplift)
    assert first.startswith("+0.0 points (")
    assert first.endswith(", not met")
    assert last.startswith("+40.0 points (+")
    assert last.endswith(", met")


def test_what_cannot_be_measured_says_so():
    table = claims_table([pair(1, outcome(False), outcome(True))])
    rows = {row[0].name: row for row in rows_by_claim(table)}
    assert claim_text(rows["degraded_when_right"][0]) == "not measurable"


def test_the_rules_of_reading_are_told_for_student_and_arms():
    read_by = {"grpo": {"answer": 100.0}, "sft": {}, "alone": {"answer": 97.6, "boxed": 2.4}}

    told = reading_text(read_by)

    assert told == "student alone: answer 98 %, boxed 2 %; GRPO teacher: answer 100 %"
    assert reading_text({"alone": {}, "grpo": {}}) == ""
    assert reading_text({}) == ""  # claims that an older Atlas has measured
