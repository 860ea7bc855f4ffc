"""References and answers that match, and some that only look alike."""

from __future__ import annotations

import pytest

from atlas.rewards.matching import matches


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("14", "14.0"),
        ("1000", "1,000"),
        ("0.5", "1/2"),
        (".5", "5e-1"),
        ("-3", "\u22123"),
        ("$1,000.50", "1000.5"),
        ("-$3", "-3"),
        ("Paris", "  paris. "),
        ("New York", "new\n york"),
        ("a, b", '"A, b"'),
        ("50 %", "50 %."),
        ("ﬁne", "fine"),
        ("...", "..."),
        ("0.1", "0.10000000000000000000"),
    ],
)
def test_the_same(reference: str, answer: str) -> None:
    assert matches(reference, answer)
    assert matches(answer, reference)


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("14", "14 legs"),
        ("14", "1 4"),
        ("14", "41"),
        ("14", "-14"),
        ("1000", "1,00"),
        ("0.1", "0.1000000000000001"),
        ("1/0", "2/0"),
        ("50 %", "50"),
        ("Paris", "Paris or London"),
        ("...", ""),
        ("...", "!!!"),
        ("a b", "ab"),
    ],
)
def test_not_the_same(reference: str, answer: str) -> None:
    assert not matches(reference, answer)
    assert not matches(answer, reference)
