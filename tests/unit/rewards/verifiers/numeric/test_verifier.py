"""Numbers in any dress and any unit: what is the same, what isn't, what can't be told."""

from __future__ import annotations

from typing import Any

import pytest

from atlas.rewards.verifiers.numeric.verifier import numeric_verdict
from atlas.types import Task


def score(reference: str, answer: str, **settings: Any) -> float | None:
    task = Task(question="?", answer=reference, family="numeric", metadata=settings)
    return numeric_verdict(task, answer).score


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("60 mph", "60 miles per hour"),
        ("60 miles per hour", "60 mph"),
        ("60 mph", "60 Miles/hour"),
        ("60 mph", "about 60 MPH."),
        ("60 mph", "60"),
        ("60 mph", "96.56064 km/h"),
        ("1,234.5", "1234.50"),
        ("1500", "1 500"),
        ("0.5", "1/2"),
        ("0.5", "½"),
        ("0.5", r"\frac{1}{2}"),
        ("1.5", "1 1/2"),
        ("0.5", "50%"),
        ("50", "50 %"),
        ("25%", "25 percent"),
        ("25%", "0.25 "),
        ("25%", "25"),
        ("14", "fourteen"),
        ("45", "forty-five apples"),
        ("-4", "minus four"),
        ("-4", "\u22124"),
        ("1200", "1.2 × 10^3"),
        ("1200", "1.2e3"),
        ("0.0012", r"$1.2 \times 10^{-3}$"),
        ("$5", "5 dollars"),
        ("$1,200.50", "1200.5 USD"),
        ("5", "$5"),
        ("150 min", "2 h 30 min"),
        ("2.5 hours", "150 minutes"),
        ("71 inches", "5 ft 11 in"),
        ("9.81 m/s^2", "9.81 m s^-2"),
        ("9.81 m/s²", "9.81 meters per second squared"),
        ("12 square meters", "12 m²"),
        ("1 m^3", "1000 L"),
        ("100 °C", "212 °F"),
        ("100 °C", "373.15 K"),
        ("10 N", "10 kg·m/s²"),
        ("3 kWh", "10.8 MJ"),
        ("180°", "180 degrees"),
        ("60", "2 * 30 = 60"),
        ("3", "x = 3"),
        ("5 km", r"$5\,\text{km}$"),
        ("14", r"$\boxed{14}$"),
    ],
)
def test_the_same(reference: str, answer: str) -> None:
    assert score(reference, answer) == 1.0


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("60 mph", "60 km/h"),
        ("60 mph", "60 kg"),
        ("60 mph", "96 km/h"),
        ("$5", "€5"),
        ("5", "5 or 6"),
        ("5", "4, 5"),
        ("5", "5 6"),
        ("12", "1 2"),
        ("1.5", "1,5"),
        ("-4", "4"),
        ("10", "10^2"),
        ("2 m", "2 miles"),
        ("5 kg", "5 Kg m"),
        ("1 mW", "1 MW"),
        ("3", "1/0"),
        ("3", "1e999"),
        ("3", "three hundred"),
        ("3", "many"),
    ],
)
def test_not_the_same(reference: str, answer: str) -> None:
    assert score(reference, answer) == 0.0


def test_tolerances_are_relative_or_in_the_units_of_the_reference() -> None:
    assert score("3.14159", "3.14") == 0.0
    assert score("3.14159", "3.14", tolerance=0.001) == 1.0
    assert score("60 mph", "96 km/h", tolerance=0.01) == 1.0
    assert score("60 mph", "97.5 km/h", absolute_tolerance=0.5) == 0.0
    assert score("60 mph", "97.3 km/h", absolute_tolerance=0.5) == 1.0
    assert score("0", "0.001") == 0.0
    assert score("0", "0.001", absolute_tolerance=0.01) == 1.0


def test_a_unit_can_be_asked_for() -> None:
    assert score("60 mph", "60", need_unit=True) == 0.0
    assert score("60 mph", "60 mi/h", need_unit=True) == 1.0


@pytest.mark.parametrize(
    ("reference", "settings"),
    [("many", {}), ("5 or 6", {}), ("5", {"tolerance": "little"}), ("5", {"tolerance": -1})],
)
def test_a_task_that_cannot_be_used_is_no_wrong_answer(
    reference: str, settings: dict[str, Any]
) -> None:
    assert score(reference, "5", **settings) is None
