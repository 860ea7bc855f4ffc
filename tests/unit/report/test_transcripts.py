from collections import Counter
from dataclasses import replace

from tests.unit.evaluation.outcomes import arm_of, outcome, pair
from tests.unit.report.fake_run import fake_pairs

from atlas.report.transcripts import choose_transcripts, kind_of


def test_the_kind_is_what_the_teaching_did():
    right, wrong = outcome(True), outcome(False)

    assert kind_of(pair(1, wrong, right)) == "helped"
    assert kind_of(pair(1, right, wrong)) == "harmed"
    assert kind_of(pair(1, right, right)) == "right anyway"
    assert kind_of(pair(1, wrong, wrong)) == "still wrong"
    assert kind_of(pair(1, wrong, right, leaked=True)) == "leaked"


def test_ten_show_every_kind_and_every_family():
    selection = choose_transcripts(fake_pairs(480), ["sft", "grpo"])

    kinds = Counter(item.kind for item in selection.transcripts)
    assert kinds == {"helped": 4, "right anyway": 2, "still wrong": 2, "harmed": 1, "leaked": 1}
    helped = {item.task.family for item in selection.transcripts if item.kind == "helped"}
    assert helped == {"basic_arithmetic", "chain_sum", "leg_counting"}
    assert sum(selection.counts.values()) == 480


def test_the_choice_does_not_depend_on_the_order_of_the_file():
    pairs = fake_pairs(90)

    assert choose_transcripts(pairs[::-1], ["sft", "grpo"]) == choose_transcripts(
        pairs, ["sft", "grpo"]
    )


def test_places_that_a_kind_cannot_fill_go_to_others():
    pairs = arm_of("grpo", gained=1, lost=0, both=30, neither=1)

    kinds = Counter(item.kind for item in choose_transcripts(pairs, ["grpo"]).transcripts)

    assert kinds == {"helped": 1, "right anyway": 8, "still wrong": 1}


def test_the_last_arm_decides_and_only_shared_tasks_are_shown():
    grpo = arm_of("grpo", gained=3, lost=0, both=0, neither=0)
    sft = [replace(row, arm="sft", attempt=outcome(False)) for row in grpo[:2]]

    selection = choose_transcripts([*grpo, *sft], ["sft", "grpo"])

    assert selection.counts == {"helped": 2}
    assert [row.arm for row in selection.transcripts[0].taught] == ["sft", "grpo"]
    assert not selection.transcripts[0].taught[0].attempt.correct


def test_nothing_evaluated_is_nothing_chosen():
    assert choose_transcripts([], []).transcripts == ()
    assert choose_transcripts([], ["grpo"]).transcripts == ()
