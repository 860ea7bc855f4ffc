import json

import pytest
from tests.unit.evaluation.outcomes import arm_of, outcome, pair

from atlas.evaluation.claims import claims_table
from atlas.evaluation.claims_file import claims_to_json
from atlas.report.text import claims_header, claims_rows, number_text, ordered_arms


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


def test_rows_hold_label_guide_and_a_cell_per_arm():
    grpo = arm_of("grpo", gained=40, lost=0, both=40, neither=20)
    sft = arm_of("sft", gained=5, lost=5, both=35, neither=55)
    record = json.loads(json.dumps(claims_to_json(claims_table(grpo + sft))))

    header, rows = claims_header(record), {row[0]: row for row in claims_rows(record)}

    assert header == ("Claim", "Guide", "SFT teacher", "GRPO teacher")
    assert all(len(row) == len(header) for row in rows.values())
    uplift = rows["Teaching efficiency: accuracy taught minus alone"]
    assert uplift[1] == "+15.7 points"
    assert uplift[2].startswith("+0.0 points (")
    assert uplift[2].endswith(", not met")
    assert uplift[3].startswith("+40.0 points (+")
    assert uplift[3].endswith(", met")
    # The first arm written is compared last with none; sft came after grpo, so it is held to it.
    compared = rows["Uplift, SFT teacher minus GRPO teacher"]
    assert compared[2].startswith("-40.0 points (")
    assert compared[3] == ""


def test_what_cannot_be_measured_says_so():
    record = claims_to_json(claims_table([pair(1, outcome(False), outcome(True))]))

    rows = {row[0]: row for row in claims_rows(record)}

    assert rows["Degraded, of the tasks right alone"][2] == "not measurable"
