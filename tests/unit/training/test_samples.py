"""From scored episodes to samples with advantages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atlas.training.samples import train_samples
from atlas.types import Completion, Episode, Score, Task


def completion(finish: str = "stop") -> Completion:
    """Two tokens."""
    return Completion(
        prompt_ids=(1, 2),
        token_ids=(3, 4),
        logprobs=(-0.5, -0.25),
        text="A = 1 + 1.",
        finish_reason="stop" if finish == "stop" else "length",
    )


def group(*values: float | None, cut: tuple[int, ...] = ()) -> tuple[Episode, ...]:
    """A group with these rewards; the members named by ``cut`` hit the limit."""
    return tuple(
        Episode(
            task=Task(question="Calculate 1 + 1.", answer="2", family="basic_arithmetic"),
            turns=(completion("length" if i in cut else "stop"),),
            score=Score(value=value),
        )
        for i, value in enumerate(values)
    )


def test_members_are_compared_within_their_group() -> None:
    samples, _ = train_samples(
        [group(1.0, 0.0), group(5.0, 4.0)], scale="none", mask_truncated=True
    )
    assert [s.advantage for s in samples] == [0.5, -0.5, 0.5, -0.5]


def test_an_abstention_is_left_out_of_the_mean() -> None:
    samples, _ = train_samples([group(1.0, None, 0.0)], scale="none", mask_truncated=True)
    assert [s.advantage for s in samples] == [0.5, None, -0.5]


def test_equal_rewards_make_a_group_dead() -> None:
    samples, result = train_samples([group(1.0, 1.0)], scale="group", mask_truncated=True)
    assert [s.advantage for s in samples] == [None, None]
    assert result.num_equal == 1


@pytest.mark.parametrize(("mask", "expected"), [(True, None), (False, 0.5)])
def test_a_cut_teaching_counts_in_the_mean_but_is_learned_from_only_when_asked(
    mask: bool, expected: float | None
) -> None:
    samples, _ = train_samples([group(1.0, 0.0, cut=(0,))], scale="none", mask_truncated=mask)
    assert [s.advantage for s in samples] == [expected, -0.5]


def test_one_that_was_cut_in_its_thoughts_is_learned_from() -> None:
    whole, cut = group(1.0, 0.0, cut=(1,))
    cut = replace(cut, turns=(replace(cut.turns[0], text="", withheld="unfinished_thoughts"),))
    samples, _ = train_samples([(whole, cut)], scale="none", mask_truncated=True)
    assert [s.advantage for s in samples] == [0.5, -0.5]


def test_turns_of_an_episode_are_one_row_in_which_replies_are_only_read() -> None:
    first, second = group(1.0, 0.0)
    longer = replace(first, turns=(*first.turns, replace(completion(), prompt_ids=(1, 2, 3, 4, 9))))
    samples, _ = train_samples([(longer, second)], scale="none", mask_truncated=True)
    assert [(s.ids, s.trained, s.advantage) for s in samples] == [
        ((1, 2, 3, 4, 9, 3, 4), ((2, 4), (5, 7)), 0.5),
        ((1, 2, 3, 4), ((2, 4),), -0.5),
    ]


def test_a_turn_whose_prompt_was_rewritten_is_a_row_of_its_own() -> None:
    first, second = group(1.0, 0.0)
    longer = replace(first, turns=(*first.turns, replace(completion(), prompt_ids=(1, 2, 9))))
    samples, _ = train_samples([(longer, second)], scale="none", mask_truncated=True)
    assert [(s.ids, s.advantage) for s in samples] == [
        ((1, 2, 3, 4), 0.5),
        ((1, 2, 9, 3, 4), 0.5),
        ((1, 2, 3, 4), -0.5),
    ]
