"""What a model from scratch was worth, in words."""

from __future__ import annotations

import pytest

from atlas.from_scratch.proof import AFTER, BEFORE, RANDOM
from atlas.report.proof import proof_conclusion, proof_gain, proof_header, proof_rows

RATE = {"value": 0.5, "low": 0.4, "high": 0.6}
FIGURES = {
    "validation_prompts": 500,
    **{f"{name}_ranking_accuracy": 0.5 for name in (RANDOM, BEFORE, AFTER)},
    **{f"{name}_loss": 1.25 for name in (RANDOM, BEFORE, AFTER)},
    **{f"{name}_verified": RATE for name in (BEFORE, AFTER)},
}


def test_every_model_that_was_measured_has_a_column() -> None:
    assert proof_header(FIGURES, pretrained=True)[1] == "random weights"
    assert proof_header(FIGURES, pretrained=False)[2:] == ("at the start", "after the ranked stage")
    assert proof_rows(FIGURES)[1] == ("loss of the best response, nats a token", *["1.250"] * 3)
    assert proof_rows(FIGURES)[2][1:] == ("", "50.0 % [40.0, 60.0]", "50.0 % [40.0, 60.0]")
    assert proof_gain(FIGURES) == ""


@pytest.mark.parametrize(
    ("low", "high", "headline"),
    [
        (0.1, 0.3, "The ranked stage makes the model better"),
        (-0.3, -0.1, "The ranked stage makes the model worse"),
        (-0.1, 0.1, "The ranked stage makes no clear difference"),
    ],
)
def test_the_interval_decides_the_headline(low: float, high: float, headline: str) -> None:
    gain = {"value": (low + high) / 2, "low": low, "high": high}
    found = proof_conclusion({**FIGURES, "verified_gain": gain}, pretrained=True)
    assert found.headline == headline
    assert "On 500 validation prompts" in found.sentence
    assert "own answers verified right: 50.0 %" in found.sentence


def test_without_a_gain_nothing_is_said_of_it() -> None:
    found = proof_conclusion(FIGURES, pretrained=True)
    assert found.finding == "unmeasured"
    assert "gain" not in found.sentence
