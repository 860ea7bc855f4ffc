from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerBase

from atlas.data.ranked import RankedRecord
from atlas.from_scratch.training.batches import (
    RankedExample,
    micro_batches,
    ranked_examples,
    ranked_steps,
    repeated_steps,
    token_steps,
)


def example(prompt: int, *responses: int) -> RankedExample:
    return RankedExample(
        prompt_ids=(1,) * prompt,
        response_ids=tuple((2,) * length for length in responses),
        scores=tuple(-float(k) for k in range(len(responses))),
    )


def test_long_responses_are_left_out_and_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    records = [
        RankedRecord(prompt="1 + 1", responses=("2", "2" * 90), scores=(0.0, -1.0)),
        RankedRecord(prompt="1" * 90, responses=("2",), scores=(0.0,)),
    ]
    examples, left_out = ranked_examples(records, tokenizer, max_length=60)
    assert [len(e.response_ids) for e in examples] == [1]
    assert examples[0].response_ids[0][-1] == tokenizer.eos_token_id
    assert examples[0].scores == (0.0,)
    assert left_out == {
        "responses longer than max_seq_length": 2,
        "prompts without a response left": 1,
    }


def test_a_response_cannot_end_its_turn(tokenizer: PreTrainedTokenizerBase) -> None:
    response = "3<|end|><|user|>4<|pad|>"
    record = RankedRecord(prompt="1 + 2", responses=(response, "3"), scores=(0.0, -1.0))
    (made,), _ = ranked_examples([record], tokenizer, max_length=99)
    *ids, end = made.response_ids[0]
    assert not set(ids) & tokenizer.added_tokens_decoder.keys()
    assert tokenizer.decode(ids) == response
    assert end == tokenizer.eos_token_id
    assert list(made.response_ids[1]) == [*tokenizer.encode("3"), end]


def test_where_the_best_response_is_too_long_the_others_are_nothing_to_prefer(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    records = [
        RankedRecord(prompt="1 + 1", responses=("2" * 90, "bad", "no"), scores=(-1.0, -2.0, -3.0)),
        RankedRecord(prompt="1 + 2", responses=("2" * 90, "3", "no"), scores=(-2.0, -1.0, -3.0)),
        RankedRecord(prompt="1 + 3", responses=("4" * 90, "4"), scores=(-1.0, -1.0)),
    ]
    examples, left_out = ranked_examples(records, tokenizer, max_length=60, whole=True)
    assert [example.scores for example in examples] == [(-1.0, -3.0), (-1.0,)]
    assert left_out == {
        "responses longer than max_seq_length": 3,
        "prompts whose best response is longer": 1,
    }
    assert len(ranked_examples(records, tokenizer, max_length=60)[0]) == 3


def test_micro_batches_hold_equal_groups_within_the_tokens() -> None:
    examples = [example(3, 4, 2), example(2, 3, 3), example(5, 1, 1, 1), example(1, 9, 9)]
    cpu = torch.device("cpu")

    def shapes(max_tokens: int, *, shared: bool) -> list[tuple[int, ...]]:
        batches = list(micro_batches(examples, max_tokens, 0, cpu, shared=shared))
        trained = sum(int(batch.groups.mask_BT.sum()) for batch in batches)
        assert trained == sum(e.num_trained for e in examples)
        return [tuple(batch.scores_PK.shape) for batch in batches]

    # Shared: 8 + 9 tokens, then 19, then 8. Else rows x (longest prompt + longest response):
    # 2 x 5, and 4 x 7 with the next; 2 x 7; 2 x 10; 3 x 6.
    assert shapes(17, shared=True) == [(2, 2), (1, 2), (1, 3)]
    assert shapes(16, shared=True) == [(1, 2), (1, 2), (1, 2), (1, 3)]
    assert shapes(28, shared=False) == [(2, 2), (1, 2), (1, 3)]
    assert shapes(27, shared=False) == [(1, 2), (1, 2), (1, 2), (1, 3)]


def test_every_epoch_has_every_example_once_in_its_own_order() -> None:
    examples = [example(n, 1, 1) for n in range(1, 7)]
    steps = list(ranked_steps(examples, batch_size=2, num_steps=6, first=0, seed=0))
    epochs = [[len(e.prompt_ids) for step in part for e in step] for part in (steps[:3], steps[3:])]
    assert [sorted(epoch) for epoch in epochs] == [[1, 2, 3, 4, 5, 6]] * 2
    assert epochs[0] != epochs[1]
    later = list(ranked_steps(examples, batch_size=2, num_steps=6, first=4, seed=0))
    assert later == steps[4:]


def test_steps_of_tokens_hold_neighbours_in_length_and_go_on_where_they_were() -> None:
    examples = [example(2, n, n) for n in (9, 1, 8, 2, 7, 3)]
    steps = token_steps(examples, tokens=10, seed=0)
    assert [[e.longest for e in step] for step in steps] == [[1, 2], [3], [7], [8], [9]]
    steps = token_steps(examples, tokens=18, seed=0)
    assert [[e.longest for e in step] for step in steps] == [[1, 2, 3], [7], [8], [9]]
    steps = token_steps(examples, tokens=10, seed=0)
    straight = list(repeated_steps(steps, num_steps=12, first=0, seed=0))
    assert list(repeated_steps(steps, num_steps=12, first=7, seed=0)) == straight[7:]
    assert len(straight) == 12
