"""Datasets to what the loops take, and the lineage of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.data.sources.recorded import recorded
from tests.unit.data.sources.test_sessions import read
from tests.unit.tiny_models import tiny_renderer

from atlas.config import SFTConfig
from atlas.data.sft import examples_of
from atlas.data.training_sets import counts, rl_set, sft_set, teachers_renderer
from atlas.errors import AtlasError
from atlas.prompts.folder import shipped_prompts
from atlas.run.prompts_kept import keep_prompts
from atlas.session import GuidanceNote, Step

LONG = (Step(id=1, guidance=(GuidanceNote(note="Add. " * 200),)),)
RENDERER = tiny_renderer()


def test_examples_know_their_session_and_lineage_names_them() -> None:
    dataset = read([recorded(number) for number in range(1, 31)], 0.3)
    made = sft_set(dataset, RENDERER, max_length=500)
    assert made.train == examples_of(dataset.sft.train, RENDERER, max_length=500)
    assert made.lineage.train == tuple(example.source for example in made.train)
    assert made.lineage.eval == tuple(example.source for example in made.held)
    assert not {*made.lineage.train} & {*made.lineage.eval}
    assert made.lineage.num_samples == {"train": len(made.train), "eval": len(made.held)}
    assert len(made.train) + len(made.held) == 30
    assert (made.lineage.source, made.lineage.filters) == ("here", dataset.filters)


def test_what_is_too_long_is_counted_and_not_in_the_lineage() -> None:
    dataset = read([recorded(1), recorded(2, steps=LONG), recorded(3, steps=())])
    made = sft_set(dataset, RENDERER, max_length=200)
    assert made.lineage.train == ("1",)
    assert made.lineage.left_out == {
        "sessions without guidance": 1,
        "sessions whose first teaching is longer than 200 tokens": 1,
    }
    assert counts(made.lineage.left_out) == (
        "1 sessions whose first teaching is longer than 200 tokens, 1 sessions without guidance"
    )


def test_later_teachings_that_are_too_long_are_counted() -> None:
    steps = tuple(
        Step(id=number, guidance=(GuidanceNote(note=note),))
        for number, note in ((1, "Add."), (2, "Add. " * 200), (3, "Add."))
    )
    made = sft_set(read([recorded(1, steps=steps)]), RENDERER, max_length=200)
    assert [len(example.trained) for example in made.train] == [1]
    assert made.lineage.left_out == {"later teachings that end beyond 200 tokens": 2}


def test_prompts_know_their_sessions() -> None:
    sessions = [recorded(1), recorded(2, good=False), recorded(11, task="Calculate 1 + 1.")]
    made = rl_set(read([*sessions, recorded(4, good=False, metadata={})]))
    assert sorted(task.answer for task in made.tasks) == ["12", "3"]
    assert made.lineage.train == ("1", "2", "11")
    assert made.lineage.num_samples == {"train": 2, "eval": 0}
    assert made.lineage.left_out == {"tasks without a reference answer": 1}
    # Session 2 went badly, and its task is learned from all the same.
    assert made.lineage.filters["min_reward of reference answers"] == 0.8
    assert not {"min_reward", "status_filters"} & made.lineage.filters.keys()


def test_nothing_to_train_on_says_why() -> None:
    dataset = read([recorded(1, steps=()), recorded(2, steps=LONG)])
    with pytest.raises(
        AtlasError,
        match=r"nothing to train on in here: 2 sessions or rows passed min_reward=0\.8, .*; left "
        r"out: 1 sessions whose first teaching is longer than 50 tokens, 1 sessions without",
    ):
        sft_set(dataset, RENDERER, max_length=50)
    with pytest.raises(AtlasError, match=r"; 3 held out by eval_split_ratio; loosen"):
        rl_set(read([recorded(number) for number in range(3)], 1.0))


def test_a_warm_up_goes_on_with_its_prompts_and_says_where_they_have_changed(
    tmp_path: Path,
) -> None:
    config = SFTConfig(model_name_or_path="base", chat_template_kwargs={"enable_thinking": False})
    begun = teachers_renderer(config)
    kept = {"teaching.txt", "next_step.txt", "review.txt", "next_review.txt", "teacher.yaml"}
    assert begun.prompts.texts.keys() == kept
    assert begun.template_kwargs == {"enable_thinking": False}
    kept, said = tmp_path / "prompts", list[str]()
    keep_prompts(kept, begun.prompts)
    assert teachers_renderer(config, kept, say=said.append).prompts == begun.prompts
    assert said == []
    other = replace(config, prompts="chat")
    assert teachers_renderer(other, kept, say=said.append).prompts == begun.prompts
    assert [line[:8] for line in said] == ["prompts:"]
    assert shipped_prompts("chat").texts["teaching.txt"] not in begun.prompts.texts.values()
