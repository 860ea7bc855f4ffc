"""``train_atlas.py``: single stages, what it says before the first step, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from atlas.checkpoints import load_tokenizer
from atlas.datasets.ranked import write_ranked
from atlas.errors import AtlasError
from atlas.from_scratch_cli import train_app
from atlas.sources.ranked_tasks import ranked_from_tasks

GUIDE = {
    "model_size": "1.1B",
    "learning_rate": 5e-6,
    "batch_size": 4,
    "epochs": 10,
    "grpo_preference_weight": 0.5,
}
TINY = ("model_size=nano", "eval_prompts=2", "eval_max_new_tokens=8", "epochs=0.3")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data and the guide's own configuration."""
    monkeypatch.chdir(tmp_path)
    for name, split in (("grpo_training", "train"), ("validation", "held_out")):
        records = ranked_from_tasks(
            ["chain_sum"],
            12,
            responses_per_prompt=3,
            seed=0,
            split=split,  # type: ignore[arg-type]
        )
        write_ranked(tmp_path / "data" / f"{name}.json", records)
    (tmp_path / "train_config.json").write_text(json.dumps(GUIDE))
    return tmp_path


def train(*words: str) -> str:
    result = CliRunner().invoke(train_app, list(words))
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_each_stage_runs_alone(folder: Path) -> None:
    said = train(*TINY, "stages=[tokenizer]", "output_dir=runs/words")
    assert "train with it by tokenizer=runs/words/tokenizer" in said
    assert "ranked stage" not in said
    words = load_tokenizer(folder / "runs/words/tokenizer")
    assert not (folder / "models").exists()

    named = ("tokenizer=runs/words/tokenizer", "pretrain_epochs=0.5")
    said = train(
        *TINY, *named, "stages=[pretrain]", "model_dir=models/speaks", "output_dir=runs/speaks"
    )
    assert "after stage 0" in said
    assert "after the ranked stage" not in said
    assert load_tokenizer(folder / "models/speaks").get_vocab() == words.get_vocab()

    said = train(*TINY, "stages=[ranked]", "model_name_or_path=models/speaks")
    assert "at the start" in said
    assert "after stage 0" not in said
    speaks, ranked = (
        json.loads((folder / "models" / name / "training_stats.json").read_text())
        for name in ("speaks", "atlas_nano")
    )
    # The second begins where the first ended.
    assert ranked["evaluate"]["stage_0_loss"] == speaks["evaluate"]["stage_0_loss"]
    assert "ranked_loss" in ranked["evaluate"]
    assert "ranked" not in speaks


def test_it_says_what_each_weight_of_the_loss_is_and_what_is_set_wrongly() -> None:
    said = train(*TINY, "stages=[ranked]", "max_steps=1", "grpo_preference_weight=0.7")
    assert "1 x the likelihood weighted by preference (likelihood_weight) + 0.7 x the pair" in said
    assert "1 steps of the ranked stage" in said
    assert "preferences alone teach random weights little" in said
    assert "learning_rate 5e-06 hardly moves a model of this size" in said


def test_a_model_that_cannot_fit_is_refused_with_what_would(folder: Path) -> None:
    with pytest.raises(AtlasError, match=r"model_size 1\.1B needs .* precision=bf16_weights"):
        train("model_size=1.1B", "memory_limit_gb=16", "precision=float32")
    assert not (folder / "runs").exists()


def test_a_misspelt_key_is_named_with_the_nearest(folder: Path) -> None:
    (folder / "typo.json").write_text(json.dumps(GUIDE | {"learning_rat": 1}))
    with pytest.raises(AtlasError, match=r"unknown key 'learning_rat'.*mean 'learning_rate'\?"):
        train("--config", "typo.json")


def test_there_must_be_something_to_resume() -> None:
    with pytest.raises(AtlasError, match="there is no run in runs/atlas_nano to resume"):
        train(*TINY, "--resume")
