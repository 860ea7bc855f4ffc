"""Which tasks share a side, and that a side never changes."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import atlas
from atlas.data.split import side_of, task_key
from atlas.data.tasks import make_tasks, wordings

SRC = Path(atlas.__file__).parents[1]
TEXTS = st.text(max_size=40)
SHARES = st.floats(0, 1)


@pytest.mark.parametrize(
    ("task", "key"),
    [
        ("Calculate 3 + 4 - 5.", "+ - 3 4 5"),
        ("What is 4 + 3 - 5?", "+ - 3 4 5"),
        ("please  COMPUTE: 3.0 + 04 \u2212 5 =\n?", "+ - 3 4 5"),
        ("Calculate 3 * 4 - 5.", "* - 3 4 5"),
        ("Calculate 3 + 4 + 4.", "+ + 3 4 4"),
        ("\uff13 \u00d7 \u0664 \u00f7 5", "* / 3 4 5"),
        ("1,200 and 1,2 and .50", "0.5 1 1200 2"),
        (
            "1.20 007 0.0 12345678901234567890123456789012",
            "0 1.2 12345678901234567890123456789012 7",
        ),
        ("A well-known pig, isn't it?", "isnt pig wellknown"),
        ("What is it?", "is it what"),
        ("?!", "?!"),
        ("", ""),
    ],
)
def test_keys(task: str, key: str) -> None:
    assert task_key(task) == key


def test_the_wordings_of_one_sum_have_one_key() -> None:
    for task in make_tasks("chain_sum", 50, seed=1):
        both = wordings(task)
        assert len(both) == 2
        assert len({task_key(wording) for wording in both}) == 1


def test_different_tasks_of_a_family_hardly_share_keys() -> None:
    tasks = make_tasks("leg_counting", 200, seed=1)
    assert len({task_key(task.question) for task in tasks}) > 190


@given(st.lists(st.integers(0, 99999), min_size=1, max_size=6), st.randoms(), SHARES)
def test_a_sum_is_on_one_side_however_it_is_written(
    terms: list[int], order: random.Random, share: float
) -> None:
    shuffled = order.sample(terms, len(terms))
    plain = f"Calculate {' + '.join(map(str, terms))}."
    written = f"WHAT IS  {'+'.join(f'0{term}.0' for term in shuffled)} = ?"
    grouped = f"what is {' + '.join(f'{term:,}' for term in shuffled)}"
    assert side_of(plain, share) == side_of(written, share) == side_of(grouped, share)


@given(TEXTS, SHARES, SHARES)
def test_a_larger_share_only_adds_to_the_evaluation(task: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert (side_of(task, small), side_of(task, large)) != ("eval", "train")


@given(st.text(st.characters(), max_size=40))
def test_any_text_has_a_side_and_none_is_held_out_of_a_share_of_0(task: str) -> None:
    assert (side_of(task, 0.0), side_of(task, 1.0)) == ("train", "eval")


def test_the_share_is_kept_and_one_text_is_worked_by_hand() -> None:
    held = sum(side_of(f"Task {number}", 0.1) == "eval" for number in range(5000))
    assert 420 < held < 580
    # printf '+ 1 2' | sha256sum begins with 6862...: 0x6862/0x10000 = 0.408.
    assert (side_of("2 + 1", 0.40), side_of("1 + 2", 0.41)) == ("train", "eval")


def test_another_process_comes_to_the_same_sides() -> None:
    """Python's own hash differs from process to process."""
    code = (
        "from atlas.data.split import side_of\n"
        "print(*[side_of(f'Zählen Sie {n} Äpfel', 0.5) for n in range(40)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(SRC), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [side_of(f"Zählen Sie {n} Äpfel", 0.5) for n in range(40)]
