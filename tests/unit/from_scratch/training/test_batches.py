from __future__ import annotations

from tests.unit.tiny_models import other_end
from transformers import PreTrainedTokenizerBase

from atlas.data.ranked import RankedRecord
from atlas.from_scratch.training.batches import (
    ranked_examples,
    ranked_group,
    ranked_steps,
    repeated_steps,
    token_steps,
)
from atlas.training.micro_batches import Group


def example(prompt: int, *responses: int) -> Group:
    scores = [-float(k) for k in range(len(responses))]
    return ranked_group((1,) * prompt, [(2,) * length for length in responses], scores)


def test_long_responses_are_left_out_and_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    records = [
        RankedRecord(prompt="1 + 1", responses=("2", "2" * 90), scores=(0.0, -1.0)),
        RankedRecord(prompt="1" * 90, responses=("2",), scores=(0.0,)),
    ]
    examples, left_out = ranked_examples(records, tokenizer, max_length=60)
    assert [len(e) for e in examples] == [1]
    assert examples[0][0].ids[-1] == tokenizer.eos_token_id
    assert examples[0][0].advantage == 0.0
    assert left_out == {
        "responses longer than max_seq_length": 2,
        "prompts without a response left": 1,
    }


def test_a_response_ends_as_the_template_ends_a_turn(tokenizer: PreTrainedTokenizerBase) -> None:
    record = RankedRecord(prompt="1 + 2", responses=("3",), scores=(0.0,))
    ((made,),), _ = ranked_examples([record], other_end(tokenizer), max_length=99)
    assert tokenizer.decode(made.ids) == "<|user|>1 + 2<|system|><|assistant|>3<|system|>"


def test_a_response_cannot_end_its_turn(tokenizer: PreTrainedTokenizerBase) -> None:
    response = "3<|end|><|user|>4<|pad|>"
    record = RankedRecord(prompt="1 + 2", responses=(response, "3"), scores=(0.0, -1.0))
    (made,), _ = ranked_examples([record], tokenizer, max_length=99)
    *ids, end = made[0].ids[made[0].prefix :]
    assert not set(ids) & tokenizer.added_tokens_decoder.keys()
    assert tokenizer.decode(ids) == response
    assert end == tokenizer.eos_token_id
    assert list(made[1].ids[made[1].prefix :]) == [*tokenizer.encode("3"), end]


def test_where_the_best_response_is_too_long_the_others_are_nothing_to_prefer(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    records = [
        RankedRecord(prompt="1 + 1", responses=("2" * 90, "bad", "no"), scores=(-1.0, -2.0, -3.0)),
        RankedRecord(prompt="1 + 2", responses=("2" * 90, "3", "no"), scores=(-2.0, -1.0, -3.0)),
        RankedRecord(prompt="1 + 3", responses=("4" * 90, "4"), scores=(-1.0, -1.0)),
    ]
    examples, left_out = ranked_examples(records, tokenizer, max_length=60, whole=True)
    assert [[row.advantage for row in example] for example in examples] == [[-1.0, -3.0], [-1.0]]
    assert left_out == {
        "responses longer than max_seq_length": 3,
        "prompts whose best response is longer": 1,
    }
    assert len(ranked_examples(records, tokenizer, max_length=60)[0]) == 3


def test_every_epoch_has_every_example_once_in_its_own_order() -> None:
    examples = [example(n, 1, 1) for n in range(1, 7)]
    steps = list(ranked_steps(examples, batch_size=2, num_steps=6, first=0, seed=0))
    epochs = [[e[0].prefix for step in part for e in step] for part in (steps[:3], steps[3:])]
    assert [sorted(epoch) for epoch in epochs] == [[1, 2, 3, 4, 5, 6]] * 2
    assert epochs[0] != epochs[1]
    later = list(ranked_steps(examples, batch_size=2, num_steps=6, first=4, seed=0))
    assert later == steps[4:]


def test_steps_of_tokens_hold_neighbours_in_length_and_go_on_where_they_were() -> None:
    examples = [example(2, n, n) for n in (9, 1, 8, 2, 7, 3)]
    steps = token_steps(examples, tokens=10, seed=0)
    assert [[e[0].num_own for e in step] for step in steps] == [[1, 2], [3], [7], [8], [9]]
    steps = token_steps(examples, tokens=18, seed=0)
    assert [[e[0].num_own for e in step] for step in steps] == [[1, 2, 3], [7], [8], [9]]
    steps = token_steps(examples, tokens=10, seed=0)
    straight = list(repeated_steps(steps, num_steps=12, first=0, seed=0))
    assert list(repeated_steps(steps, num_steps=12, first=7, seed=0)) == straight[7:]
    assert len(straight) == 12
