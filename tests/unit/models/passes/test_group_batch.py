"""The layout of a batch of groups, and where its tensors are."""

from __future__ import annotations

from dataclasses import fields

import pytest

from atlas.models.passes.group_batch import group_batch


def test_layout_of_a_batch() -> None:
    """Prompts on the right, completions on the left of their blocks, ``.`` is padding:

    . 5 6 | 7 1
    . 5 6 | 8 .
    2 3 4 | 9 .
    """
    batch = group_batch([[5, 6], [2, 3, 4]], [[7, 1], [8], [9]], 0, group_sizes=[2, 1])
    assert batch.prompt_ids_PL.tolist() == [[0, 5, 6], [2, 3, 4]]
    assert batch.prompt_mask_PL.tolist() == [[0, 1, 1], [1, 1, 1]]
    assert batch.prompt_of_B.tolist() == [0, 0, 1]
    assert batch.completion_ids_BT.tolist() == [[7, 1], [8, 0], [9, 0]]
    assert batch.mask_BT.tolist() == [[True, True], [True, False], [True, False]]


def test_groups_are_equal_unless_it_is_said() -> None:
    batch = group_batch([[5], [6]], [[1], [2], [3], [4]], 0)
    assert batch.prompt_of_B.tolist() == [0, 0, 1, 1]


def test_every_tensor_is_on_the_device_that_was_asked_for() -> None:
    batch = group_batch([[5, 6], [2]], [[7, 1], [8]], 0, device="meta")
    devices = {f.name: getattr(batch, f.name).device.type for f in fields(batch)}
    assert set(devices.values()) == {"meta"}, devices


@pytest.mark.parametrize(
    ("completions", "sizes", "message"),
    [
        ([[1], [1], [1]], None, "3 completions for 2 prompts"),
        ([[1], []], None, "a completion is empty"),
        ([[1], [1]], [2, 0], r"2 completions for groups of \[2, 0\]"),
        ([[1], [1]], [1, 2], r"2 completions for groups of \[1, 2\]"),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused(
    completions: list, sizes: list[int] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        group_batch([[5], [6]], completions, 0, group_sizes=sizes)
