"""An environment is named and allowed, and a new one is a file of its own."""

from __future__ import annotations

import importlib
import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from types import ModuleType, SimpleNamespace

import pyarrow.parquet
import pytest
import torch
from tests.unit.tiny_models import tiny_renderer
from tests.unit.training.test_grpo import config_for
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from atlas.config.grpo import GRPOConfig
from atlas.config.resolve import resolve
from atlas.environments.environment import Context, load_environment
from atlas.errors import AtlasError
from atlas.from_scratch.model.tokenizer import train_tokenizer
from atlas.models.checkpoints import load_tokenizer, save_model
from atlas.prompts.chat import reply_ids, turn_end_id
from atlas.run.progress import Silent
from atlas.run.run_dir import RunDir
from atlas.run.stopping import StopRequest
from atlas.training.grpo import train_grpo
from atlas.types import Task

TOP = 3
ROOT = Path(__file__).resolve().parents[3]
TOY = """
from dataclasses import replace
from atlas.environments.environment import Environment
from atlas.types import Episode, Score

class Short(Environment[Episode]):
    def __init__(self, context):
        self.renderer = context.renderer

    def begin(self, tasks):
        return [self.renderer.prompt("baseline", task=task.question) for task in tasks]

    def outcome(self, episodes):
        return [replace(e, score=Score(value=-len(e.turns[0].text) / 9)) for e in episodes]

class Neither:
    def __init__(self, context): pass

number = 3
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules in the working directory, as users have theirs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.py").write_text(TOY)
    yield
    for name in ("toy", "guessing"):
        sys.modules.pop(name, None)


def named(name: str, **keys: object) -> GRPOConfig:
    return GRPOConfig(model_name_or_path="base", environment=name, **keys)  # pyright: ignore


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("solv", "environment 'solv' doesn't exist; did you mean 'solve'"),
        ("toy:Short", r"runs only if you allow it .*'allow_targets=\[toy:Short\]'"),
        ("teaching", "student_model is missing"),
    ],
)
def test_it_is_refused_when_the_configuration_is_resolved(name: str, message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        resolve(named(name))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("toy:Neither", "made a Neither; it must be a subclass of .*Environment"),
        ("toy.number", "environment 'toy.number' is no function"),
        ("toy:Gone", "can't be imported: AttributeError"),
    ],
)
def test_what_is_no_environment_is_refused(tmp_path: Path, name: str, message: str) -> None:
    config = resolve(named(name, allow_targets=(name.replace(":", "."),)))
    run = RunDir.create(tmp_path / "run", "grpo")
    with pytest.raises(AtlasError, match=message):
        load_environment(
            Context(config=config, renderer=tiny_renderer(load_tokenizer("base")), run=run)
        )


def test_a_toy_in_a_folder_of_its_own_is_trained(
    tmp_path: Path, model_folder: Path, tasks: list[Task]
) -> None:
    run = RunDir.create(tmp_path / "run", "grpo")
    config = config_for(
        model_folder,
        run.path,
        environment="toy:Short",
        allow_targets=("toy:Short",),
        student_model=None,
        canary_tasks=2,
        canary_steps=2,
        max_steps=2,
    )
    figures = train_grpo(run, config, tasks, progress=Silent(), stop=StopRequest())
    assert run.final.is_dir()
    rows = pyarrow.parquet.read_table(run.rollouts / "step_000001.parquet").to_pylist()
    assert [row["reward"] for row in rows] == [-len(row["completion"]) / 9 for row in rows]
    assert len(rows) == 8
    assert figures["train/turns"] == 1
    assert figures["canary/accuracy"] < 0
    assert not run.student_alone.exists()


def player(folder: Path, page: ModuleType) -> Path:
    """Save a model of two layers that plays badly: it listens to every second hint."""
    text = f"{page.QUESTION} Game 0 1 2 3 4 5 6 7 8 9. higher lower"
    tokenizer = train_tokenizer([text] * 9, vocab_size=360)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=128,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    (prompt,) = page.GuessingGame(SimpleNamespace(renderer=tiny_renderer(tokenizer))).begin(
        games(1)
    )
    end, rng = turn_end_id(tokenizer), random.Random(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(400):
        hints = [rng.choice(["higher", "lower"]) for _ in range(2)]  # one length in all rows
        rows = [[*prompt, *played(tokenizer, hints, end, rng)] for _ in range(32)]
        ids_BT = torch.tensor(rows)
        # Numbers and the ends of turns are all that differs, or that the player says.
        said_BT = (ids_BT != ids_BT[:1]).any(dim=0) | (ids_BT == end)
        labels_BT = torch.where(said_BT, ids_BT, -100)
        model(input_ids=ids_BT, labels=labels_BT).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    save_model(folder, model, tokenizer)
    return folder


def played(
    tokenizer: PreTrainedTokenizerBase, hints: list[str], end: int, rng: random.Random
) -> list[int]:
    """Return the ids of three turns of somebody who listens to every second hint."""
    guess, ids = rng.randint(1, TOP), list[int]()
    for hint in (*hints, ""):
        ids += [*tokenizer.encode(str(guess), add_special_tokens=False), end]
        ids += reply_ids(tokenizer, [end], hint) if hint else []
        left = range(guess + 1, TOP + 1) if hint == "higher" else range(1, guess)
        guess = rng.choice(left if left and rng.random() < 0.5 else range(1, TOP + 1))
    return ids


def games(num: int) -> list[Task]:
    """Numbers from 1 to 3; a question tells its game, and not the number."""
    rng = random.Random(1)
    return [
        Task(question=f"Game {n}.", answer=str(rng.randint(1, TOP)), family="guess")
        for n in range(num)
    ]


def test_the_game_of_the_page_is_learned(tmp_path: Path) -> None:
    """Numbers at random earn 0.5, as many as the player at first; the best there is earns 0.87."""
    page = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(code.splitlines()) <= 60
    (tmp_path / "guessing.py").write_text(code)
    sys.path.insert(0, str(tmp_path))
    model = player(tmp_path / "model", importlib.import_module("guessing"))
    sys.path.remove(str(tmp_path))
    run = RunDir.create(tmp_path / "run", "grpo")
    config = config_for(
        model,
        run.path,
        environment="guessing:GuessingGame",
        allow_targets=("guessing:GuessingGame",),
        student_model=None,
        max_steps=60,
        learning_rate=3e-3,
        num_generations=16,
        per_device_train_batch_size=8,
        max_new_tokens=2,
        beta=0.0,
        canary_tasks=0,
        save_steps=0,
    )
    train_grpo(run, config, games(100), progress=Silent(), stop=StopRequest())
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    rewards = [row["train/reward"] for row in rows]
    assert fmean(rewards[:10]) < 0.68
    assert fmean(rewards[-10:]) > fmean(rewards[:10]) + 0.08
    assert all(1 < row["train/turns"] < 2 for row in rows)
    said = pyarrow.parquet.read_table(run.rollouts / "step_000060.parquet").to_pylist()
    assert any(re.fullmatch(r"2\n> (higher\n3|lower\n1)", row["completion"]) for row in said)
