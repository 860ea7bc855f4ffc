import pytest
from tests.unit.evaluation.outcomes import arm_of

from atlas.evaluation.claims import claims_table
from atlas.report.conclusion import conclusion


@pytest.mark.parametrize(
    ("gained", "lost", "finding", "headline"),
    [
        (40, 5, "helps", "The GRPO teacher helps its student"),
        (5, 40, "harms", "The GRPO teacher harms its student"),
        (11, 9, "unclear", "The GRPO teacher makes no clear difference"),
    ],
)
def test_the_interval_decides_the_headline(gained, lost, finding, headline):
    opening = conclusion(
        claims_table(arm_of("grpo", gained=gained, lost=lost, both=20, neither=20))
    )

    assert (opening.finding, opening.headline) == (finding, headline)


def test_the_sentence_holds_the_numbers():
    opening = conclusion(claims_table(arm_of("grpo", gained=50, lost=0, both=40, neither=10)))

    assert opening.sentence.startswith(
        "On 100 held-out tasks the student gets 90.0 % right when taught and 40.0 % alone: "
        "+50.0 points (95 % interval +40.0 to +60.0)"
    )


@pytest.mark.parametrize(
    ("sft_gained", "words"),
    [
        (10, "which is 40.0 points more than with the SFT teacher"),
        (50, "no clear difference from the SFT teacher (+0.0 points"),
        (90, "which is 40.0 points less than with the SFT teacher"),
    ],
)
def test_the_sentence_holds_the_arm_to_the_one_before_it(sft_gained, words):
    sft = arm_of("sft", gained=sft_gained, lost=0, both=0, neither=100 - sft_gained)
    grpo = arm_of("grpo", gained=50, lost=0, both=0, neither=50)

    assert words in conclusion(claims_table(sft + grpo)).sentence


def test_without_an_evaluation_nothing_is_claimed():
    assert conclusion(None).finding == "unmeasured"
