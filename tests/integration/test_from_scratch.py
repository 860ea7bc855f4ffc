"""Guide A through its own commands, at a tiny size: data, training, a stop, the last folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from transformers import AutoModelForCausalLM, AutoTokenizer

from atlas.data.ranked import read_ranked
from atlas.from_scratch.model.numpy_llama import NumpyLlama

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "model_size": "nano",
    "learning_rate": 3e-4,
    "batch_size": 8,
    "epochs": 1,
    "grpo_preference_weight": 0.5,
    "pretrain_epochs": 1,
    "pretrain_tokens_per_step": 2048,
    "logging_steps": 5,
    "eval_prompts": 8,
    "eval_max_new_tokens": 16,
}
PATIENCE_S = 240


def script(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", ROOT / name, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A model that was interrupted in its first training stage and then brought to its end."""
    folder = tmp_path_factory.mktemp("from_scratch")
    made = script(folder, "prepare_grpo_data.py", "--size", "120", "--validation-size", "24")
    assert made.returncode == 0, made.stderr
    (folder / "train_config.json").write_text(json.dumps(CONFIG))
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", ROOT / "train_atlas.py", "--config", "train_config.json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    metrics = folder / "runs" / "atlas_nano" / "metrics.jsonl"
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        if metrics.exists() and metrics.read_text():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, output
    done = script(folder, "train_atlas.py", "--config", "train_config.json", "--resume")
    assert done.returncode == 0, done.stderr
    return folder, output + done.stdout


def test_the_data_is_ranked_and_shares_no_prompt(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    train = read_ranked(folder / "data" / "grpo_training.json")
    validation = read_ranked(folder / "data" / "validation.json")
    assert (len(train), len(validation)) == (120, 24)
    assert {len(record.responses) for record in train} == {5}
    assert not {record.prompt for record in train} & {record.prompt for record in validation}


def test_it_says_what_it_trains_and_goes_on_where_it_was_stopped(trained: tuple[Path, str]) -> None:
    folder, output = trained
    assert "Total parameters: 914,560" in output
    assert "goes on from the last checkpoint" in output
    lines = [
        json.loads(line)
        for line in (folder / "runs/atlas_nano/metrics.jsonl").read_text().splitlines()
    ]
    for stage in ("pretrain", "ranked"):
        steps = [line["step"] for line in lines if line["stage"] == stage]
        assert steps == sorted(set(steps))
        assert steps[0] == 5
    log = (folder / "logs" / "training.log").read_text()
    assert "pretrain" in log
    assert "ranked" in log
    assert any((folder / "logs" / "tensorboard").iterdir())


def test_the_folder_is_the_guide_s_and_loads_in_stock_tools(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    model_folder = folder / "models" / "atlas_nano"
    for name in (
        "model_weights.pkl",
        "config.json",
        "vocabulary.json",
        "training_stats.json",
        "model.safetensors",
        "tokenizer.json",
    ):
        assert (model_folder / name).is_file(), name
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    vocabulary = json.loads((model_folder / "vocabulary.json").read_text())
    assert vocabulary == tokenizer.get_vocab()
    stats = json.loads((model_folder / "training_stats.json").read_text())
    assert stats["parameters"] == model.num_parameters() == 914_560
    found = stats["evaluate"]
    assert found["verified_prompts"] == 8
    for model_name in ("random", "stage_0", "ranked"):
        assert 0 < found[f"{model_name}_ranking_accuracy"] < 1
        assert found[f"{model_name}_loss"] > 0
    for rate in ("stage_0_verified", "ranked_verified", "verified_gain"):
        assert found[rate]["low"] <= found[rate]["value"] <= found[rate]["high"]
    assert stats["ranked"]["steps"] == 15
    ids = tokenizer.encode("Calculate 2 + 3 - 1.")
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    assert np.allclose(NumpyLlama.load(model_folder).logits(ids), expected, atol=1e-4)


def test_the_figures_have_the_format_that_is_shipped(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    text = files("atlas.from_scratch").joinpath("schemas/training_stats.schema.json").read_text()
    schema = json.loads(text)
    Draft202012Validator.check_schema(schema)
    stats = json.loads((folder / "models" / "atlas_nano" / "training_stats.json").read_text())
    assert list(Draft202012Validator(schema).iter_errors(stats)) == []
    assert stats.keys() == schema["properties"].keys()
    assert stats["evaluate"].keys() == schema["properties"]["evaluate"]["properties"].keys()
