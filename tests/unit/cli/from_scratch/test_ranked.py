"""``train_atlas.py``: single stages, what it says before the first step, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from atlas.cli.doctor import app as doctor_app
from atlas.cli.from_scratch.ranked import app as train_app
from atlas.cli.from_scratch.ranked import ranked_lines
from atlas.config import RankedConfig, load_config
from atlas.data.ranked import read_ranked, write_ranked
from atlas.errors import AtlasError
from atlas.from_scratch.data.tasks import ranked_from_tasks
from atlas.models.checkpoints import load_tokenizer
from atlas.report import write_report

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


def test_on_a_corpus_no_ranked_data_is_needed(folder: Path) -> None:
    shutil.rmtree(folder / "data")
    (folder / "books").mkdir()
    (folder / "books" / "a.txt").write_text("Once upon a time. " * 400)
    words = (*TINY, "corpus=books", "pretrain_epochs=0.5", "max_seq_length=64")
    said = train(*words, "stages=[tokenizer,pretrain]", "max_tokens_per_micro_batch=128")
    assert "Measured on" not in said
    stats = json.loads((folder / "models/atlas_nano/training_stats.json").read_text())
    assert "evaluate" not in stats
    assert stats["run"] == "runs/atlas_nano"
    with pytest.raises(AtlasError, match=r"data/grpo_training\.json isn't there"):
        train(*words, "stages=[ranked]", "output_dir=runs/b")


def test_the_log_tells_of_every_stage_and_of_the_last_step(folder: Path) -> None:
    train(*TINY, "stages=[ranked]", "max_steps=1")
    lines = [line[21:] for line in (folder / "logs/training.log").read_text().splitlines()]
    assert lines[0].startswith("plan  914,560 parameters, precision=")
    stages = [line.split("  ")[0] for line in lines]
    assert stages == [
        "plan",
        "tokenizer",
        "ranked",
        "ranked",
        "ranked",
        *["evaluate"],
        *["save"] * 2,
        *["ranked"] * 5,
    ]
    assert any(line.startswith("ranked    ✗ loss, nats a token") for line in lines)
    assert lines[-1] == "ranked    what to do first: atlas doctor runs/atlas_nano"
    assert lines[3].startswith("ranked  1/1  loss ")  # though logging_steps is 10
    assert "save  model: models/atlas_nano" in lines


def test_doctor_and_report_understand_the_run(folder: Path) -> None:
    train(*TINY)
    done = CliRunner().invoke(doctor_app, ["runs/atlas_nano"])
    assert done.exit_code == 1
    assert "pretrain: " in done.output
    assert "below 1.5 is healthy" in done.output
    page = write_report(folder / "runs/atlas_nano").read_text()
    assert "RANKED: does it look like success?" in page
    assert "The ranked stage makes no clear difference" in page
    assert "after stage 0" in page
    card = (folder / "models/atlas_nano/README.md").read_text()
    assert "| loss of the best response, nats a token |" in card


def test_the_eta_of_a_stage_counts_the_later_ones(folder: Path) -> None:
    train(*TINY, "logging_steps=1")
    log = (folder / "logs/training.log").read_text()
    assert re.search(r"pretrain\s+1/\d+  loss .* ETA 0:00:\d\d, with what follows 0:0", log)
    assert not re.search(r"ranked\s+\d+/.* with what follows", log)


def test_a_model_folder_is_never_taken_from_anybody(folder: Path) -> None:
    mine = folder / "models" / "atlas_nano"
    mine.mkdir(parents=True)
    (mine / "precious").write_text("x")
    words = (*TINY, "stages=[ranked]", "max_steps=1")
    with pytest.raises(AtlasError, match="model_dir models/atlas_nano holds precious and more"):
        train(*words)
    assert [path.name for path in mine.iterdir()] == ["precious"]
    assert not (folder / "runs").exists()
    (mine / "precious").unlink()
    train(*words)
    with pytest.raises(AtlasError, match="holds the model of the run runs/atlas_nano; move it"):
        train(*words, "output_dir=runs/other")
    train(*words, "--fresh")  # the same run may
    with pytest.raises(AtlasError, match="model_dir /proc/none/m can't be written"):
        train(*words, "model_dir=/proc/none/m", "output_dir=runs/other")


@pytest.mark.parametrize("changed", ["grpo_training", "validation"])
def test_a_run_does_not_go_on_with_other_data(folder: Path, changed: str) -> None:
    words = (*TINY, "stages=[ranked]", "max_steps=1")
    train(*words)
    path = folder / "data" / f"{changed}.json"
    before = path.read_text()
    write_ranked(path, read_ranked(path)[:-1])
    name = {"grpo_training": "train_data", "validation": "validation_data"}[changed]
    with pytest.raises(AtlasError, match=rf"^{name} \(data/{changed}\.json\) changed since runs/"):
        train(*words)
    path.write_text(before)
    assert "model: models/atlas_nano" in train(*words)


def test_a_corpus_that_is_not_there_leaves_no_run_behind(folder: Path) -> None:
    with pytest.raises(AtlasError, match="corpus nosuch is neither a text file nor a folder"):
        train(*TINY, "corpus=nosuch")
    assert not (folder / "runs").exists()


def test_validation_that_nothing_fits_into_is_told_before_the_training(folder: Path) -> None:
    path = folder / "data" / "validation.json"
    long = [replace(record, prompt=record.prompt * 20) for record in read_ranked(path)]
    write_ranked(path, long)
    with pytest.raises(AtlasError, match=r"no best response in data/validation\.json fits"):
        train(*TINY, "max_seq_length=64")
    assert not list((folder / "runs").iterdir())


def test_it_says_what_each_weight_of_the_loss_is_and_what_is_set_wrongly() -> None:
    said = train(*TINY, "stages=[ranked]", "max_steps=1", "grpo_preference_weight=0.7")
    assert "1 x the likelihood weighted by preference (likelihood_weight) + 0.7 x the pair" in said
    assert "1 steps of the ranked stage" in said
    assert "preferences alone teach random weights little" in said
    assert "nothing is ranked" not in said
    assert "learning_rate 5e-06 hardly moves a model of this size" in said


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas.run.files._free_bytes", lambda path: 1_000_000)
    with pytest.raises(AtlasError, match=r"runs/atlas_nano needs .* of disk"):
        train(*TINY)
    assert not (folder / "runs").exists()


def test_the_guides_rate_is_said_to_be_the_ranked_stages(folder: Path) -> None:
    config = load_config(RankedConfig, "train_config.json")
    lines = list(ranked_lines(config, 1_102_345_728, []))
    assert any("learning_rate 5e-06 is the ranked stage's" in line for line in lines)
    small = [*ranked_lines(config, 900_000, [])]
    assert not any("is the ranked stage's" in line for line in small)


def test_a_model_that_cannot_fit_is_refused_with_what_would(folder: Path) -> None:
    with pytest.raises(AtlasError, match=r"model_size 1\.1B needs .* precision=bf16_weights"):
        train("model_size=1.1B", "memory_limit_gb=16", "precision=float32")
    assert not (folder / "runs").exists()


def test_a_misspelt_key_is_named_with_the_nearest(folder: Path) -> None:
    (folder / "typo.json").write_text(json.dumps(GUIDE | {"learning_rat": 1}))
    with pytest.raises(AtlasError, match=r"unknown key 'learning_rat'.*mean 'learning_rate'\?"):
        train("--config", "typo.json")


def test_prompts_without_a_pair_are_counted(folder: Path) -> None:
    path = folder / "data" / "grpo_training.json"
    first, *others = read_ranked(path)
    tied = replace(first, scores=(-1.0,) * len(first.scores))
    write_ranked(path, [tied, *others])
    said = train(*TINY, "stages=[ranked]", "max_steps=1")
    assert "Note: 1 prompts have one response or only ties: nothing is ranked there." in said


def test_there_must_be_something_to_resume() -> None:
    with pytest.raises(AtlasError, match="there is no run in runs/atlas_nano to resume"):
        train(*TINY, "--resume")
