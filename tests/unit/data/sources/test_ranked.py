"""Ranked responses as a source: what was learned offline is what SFT and GRPO go on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.config.grammar.compose import load_config
from atlas.config.grpo import GRPOConfig
from atlas.data.load import load_trace_dataset
from atlas.data.ranked import RankedRecord, write_ranked
from atlas.data.sources.ranked import get_ranked_dataset
from atlas.errors import AtlasError
from atlas.types import Task


def record(number: int, *, verifiable: bool = True) -> RankedRecord:
    question = f"Calculate {number} + 1."
    return RankedRecord(
        prompt=question,
        responses=("wrong", f"Answer: {number + 1}", "longer"),
        scores=(-3.0, -1.0, -2.0),
        task=Task(question=question, answer=str(number + 1), family="chain_sum")
        if verifiable
        else None,
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    records = [*(record(n) for n in range(40)), record(50, verifiable=False), record(7)]
    write_ranked(tmp_path / "data.json", records)
    return tmp_path / "data.json"


def test_sft_learns_the_best_response_and_rl_takes_the_prompts(data: Path) -> None:
    dataset = get_ranked_dataset(data, eval_split_ratio=0.2)
    dialogues = {d.session: d.messages for d in (*dataset.sft.train, *dataset.sft.eval)}
    assert len(dialogues) == 42
    assert dialogues["7"] == (
        {"role": "user", "content": "Calculate 7 + 1."},
        {"role": "assistant", "content": "Answer: 8"},
    )
    prompts = (*dataset.rl.train, *dataset.rl.eval)
    assert len(prompts) == 40
    assert {p.task.question: p.sessions for p in prompts}["Calculate 7 + 1."] == ("7", "41")
    assert dataset.rl.left_out == {"records without a task that verifies an answer": 1}
    held = {d.messages[0]["content"] for d in dataset.sft.eval}
    assert {p.task.question for p in dataset.rl.eval} == held - {"Calculate 50 + 1."}
    assert 2 < len(held) < 16


def test_only_what_is_wanted_is_made(data: Path) -> None:
    assert get_ranked_dataset(data, use="rl").sft.num_read == 0
    dataset = get_ranked_dataset(data, use="sft", limit=5, only_sessions={"3", "4", "9"})
    assert dataset.rl.num_read == 0
    assert sorted(d.session for d in (*dataset.sft.train, *dataset.sft.eval)) == ["3", "4"]
    with pytest.raises(AtlasError, match="give ranked_path"):
        get_ranked_dataset()


def test_it_is_a_source_that_a_run_can_name(data: Path) -> None:
    config = load_config(
        GRPOConfig, "teacher_rcl", ["data=ranked", f"ranked_path={data}", "student_model=base"]
    )
    assert config.data_source == "ranked"
    assert load_trace_dataset(config, "rl").rl.num_read == 42
    with pytest.raises(AtlasError, match="min_reward is read by runtime_traces and runtime_pg"):
        load_config(
            GRPOConfig,
            "teacher_rcl",
            ["data=ranked", f"ranked_path={data}", "student_model=base", "min_reward=0.5"],
        )
