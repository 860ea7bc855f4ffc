"""Learning from examples: the loss is transformers' own, and accumulation changes nothing."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from atlas.config.parts.run import RunConfig
from atlas.models.passes.padded import join
from atlas.parallel.engine.plain import PlainEngine
from atlas.run.metrics import MetricSink
from atlas.run.progress import Silent
from atlas.run.run_dir import RunDir
from atlas.run.stopping import StopRequest
from atlas.training.chain import Chain
from atlas.training.loop import Loop
from atlas.training.supervised import Step, evaluation_loss, run_steps
from atlas.types import Tokens

EXAMPLES = [
    Tokens(ids=(5, 6, 7, 8, 1), trained=((2, 5),)),
    Tokens(ids=(9, 10, 11, 1), trained=((3, 4),)),
    Tokens(ids=(12, 13, 14, 15, 16, 17, 1), trained=((1, 3), (4, 7))),
]


def engine_of(model: LlamaForCausalLM) -> PlainEngine:
    return PlainEngine(model, learning_rate=1e-2, total_steps=99, scheduler="constant")


def train(model: LlamaForCausalLM, steps: list[Step], folder: Path) -> float:
    """Run the steps; returns the last loss."""
    engine = engine_of(model)
    run = RunDir.create(folder, "sft")
    chain = Chain(None, RunConfig(output_dir="run"), lambda: "")
    with MetricSink(run, stage="sft", total_steps=len(steps)) as sink:
        loop = Loop(sink=sink, progress=Silent(), stop=StopRequest(), chain=chain, logging_steps=1)
        return run_steps(engine, steps, loop)


def test_the_loss_is_that_of_transformers(model: LlamaForCausalLM) -> None:
    ids_BT = torch.tensor([[*row.ids, 0, 0, 0][:7] for row in EXAMPLES])
    labels = torch.full_like(ids_BT, -100)
    for row, example in enumerate(EXAMPLES):
        for start, end in example.trained:
            labels[row, start:end] = ids_BT[row, start:end]
    with torch.no_grad():
        expected = model(input_ids=ids_BT, labels=labels).loss.item()
    found = evaluation_loss(engine_of(model), EXAMPLES, batch_size=2)
    assert found == pytest.approx(expected, rel=1e-5)


def test_accumulation_equals_one_big_batch(tmp_path: Path, model: LlamaForCausalLM) -> None:
    other = copy.deepcopy(model)
    whole = train(model, [[EXAMPLES]], tmp_path / "whole")
    cut = train(other, [[[example] for example in EXAMPLES]], tmp_path / "cut")
    assert cut == pytest.approx(whole, rel=1e-5)
    for left, right in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=2e-3)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_row_that_is_learned_whole_is_a_mean_over_what_is_predicted(
    tmp_path: Path, model: LlamaForCausalLM, cut: int
) -> None:
    """Nothing predicts a row's first token, so that L tokens are L - 1 in the mean."""
    texts = [(5, 6, 7, 8, 1), (9, 10, 11, 12, 1), (12, 13, 14, 15, 16)]
    rows = [Tokens(ids=ids, trained=((1, 5),)) for ids in texts]
    ids_BT = torch.tensor(texts)
    logits_BTV = model(ids_BT).logits[:, :-1]
    expected = torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), ids_BT[:, 1:].flatten())
    expected.backward()
    squares = [(p.grad**2).sum() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    step = [rows[i : i + cut] for i in range(0, len(rows), cut)]
    loss = train(model, [step], tmp_path)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    norm = float(torch.stack(squares).sum().sqrt())
    assert json.loads(line)["train/grad_norm"] == pytest.approx(norm, rel=1e-4)


def test_it_learns(tmp_path: Path, model: LlamaForCausalLM) -> None:
    before = evaluation_loss(engine_of(model), EXAMPLES, batch_size=3)
    train(model, [[EXAMPLES]] * 30, tmp_path / "run")
    assert evaluation_loss(engine_of(model), EXAMPLES, batch_size=3) < 0.2 * before


def test_an_example_counts_by_its_weight(tmp_path: Path, model: LlamaForCausalLM) -> None:
    """The loss is the weighted mean over tokens, packed and in parts as well."""
    weights = (1.0, 0.5, 0.25)
    alone = [evaluation_loss(engine_of(model), [one], batch_size=1) for one in EXAMPLES]
    counts = [w * one.num_trained for w, one in zip(weights, EXAMPLES, strict=True)]
    expected = sum(c * loss for c, loss in zip(counts, alone, strict=True)) / sum(counts)
    weighed = [replace(one, advantage=w) for w, one in zip(weights, EXAMPLES, strict=True)]
    for name, step in {
        "whole": [weighed],
        "parts": [[one] for one in weighed],
        "packed": [[join(weighed)]],
    }.items():
        loss = train(copy.deepcopy(model), [step], tmp_path / name)
        assert loss == pytest.approx(expected, rel=1e-5), name
