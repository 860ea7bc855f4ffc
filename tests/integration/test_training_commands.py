"""``atlas sft`` and ``atlas grpo`` on sessions of a database and of a file, with the base model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml
from pyarrow.parquet import read_table
from tests.unit.data.sources.recorded import recorded
from tests.unit.tiny_models import tiny_renderer
from typer.testing import CliRunner, Result

from atlas.cli.app import app
from atlas.config import SFTConfig, load_config
from atlas.data.load import load_trace_dataset
from atlas.data.task_file import read_tasks
from atlas.data.training_sets import sft_set
from atlas.errors import AtlasError
from atlas.evaluation.pairs_file import read_pairs
from atlas.models.checkpoints import load_model
from atlas.run.lineage import read_lineage
from atlas.run.run_dir import RunDir
from atlas.session import Session
from atlas.traces.jsonl import write_jsonl
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.postgres.writing import write_sessions
from atlas.traces.store import SessionQuery

SFT = ("model_name_or_path=base", "gradient_accumulation_steps=4", "eval_split_ratio=0.2")
GRPO = (
    "model_name_or_path=base",
    "student_model=base",
    "max_steps=2",
    "num_generations=2",
    "gradient_accumulation_steps=2",
    "max_new_tokens=8",
    "max_clipped_share=1",
    "student_max_new_tokens=16",
    "approach_max_new_tokens=8",
    "eval_split_ratio=0.2",
    "save_steps=1",
    "evaluate_tasks=0",
)


def atlas(*words: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, list(words))


def done(*words: str) -> str:
    """Run the command and return the last line that it printed."""
    result = atlas(*words)
    assert result.exit_code == 0, result.exception or result.output
    return result.output.strip().splitlines()[-1]


def refusal(*words: str) -> str:
    """Run the command and return why it refused."""
    result = atlas(*words)
    assert isinstance(result.exception, AtlasError), result.output
    return str(result.exception)


def sessions() -> list[Session]:
    """Forty sessions, of which 26 went well; two on each sum, its terms in another order."""
    return [
        recorded(
            number,
            good=number % 3 > 0,
            task=(f"Calculate {number // 2} + 30." if number % 2 else f"30 + {number // 2} = ?"),
        )
        for number in range(1, 41)
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def traces(folder: Path) -> str:
    """The sessions in a file."""
    write_jsonl("traces.jsonl", sessions())
    return "data=runtime_traces export_path=traces.jsonl"


def test_a_database_and_its_export_train_the_same_teacher(folder: Path, fresh_db_url: str) -> None:
    write_sessions(fresh_db_url, sessions())
    write_jsonl("traces.jsonl", PostgresTraceStore(fresh_db_url).sessions(SessionQuery()))
    places = {
        "pg": ("data=runtime_pg", f"db_url={fresh_db_url}"),
        "jsonl": ("+override /data: runtime_traces", "make_dataset_fn.export_path=traces.jsonl"),
    }
    examples, lineages, weights = [], [], []
    for name, words in places.items():
        line = done("sft", "teacher_sft", *words, *SFT, f"output_dir={name}")
        lineage = read_lineage(name)
        assert line == (
            f"sft: 3 steps on {len(lineage.train)} examples of {len(lineage.train)} sessions, "
            f"{len(lineage.eval)} examples of {len(lineage.eval)} held out; model: {name}/final"
        )
        config = load_config(SFTConfig, "teacher_sft", [*words, *SFT])
        made = sft_set(load_trace_dataset(config, "sft"), tiny_renderer(), max_length=2048)
        examples.append((made.train, made.held))
        assert (made.lineage.train, made.lineage.eval) == (lineage.train, lineage.eval)
        assert read_lineage(f"{name}/final") == lineage
        lineages.append((lineage.train, lineage.eval, lineage.num_samples))
        weights.append(load_model(f"{name}/final").state_dict())
        kept = yaml.safe_load(Path(name, "config.yaml").read_text())
        assert kept["data_source"] == ("runtime_pg" if name == "pg" else "runtime_traces")
    assert examples[0] == examples[1]
    assert lineages[0] == lineages[1]
    assert all(torch.equal(tensor, weights[1][key]) for key, tensor in weights[0].items())
    train, held, _ = lineages[0]
    assert set(map(int, train + held)) == {n for n in range(1, 41) if n % 3}
    # Two sessions on one sum, n // 2, are on one side.
    assert not {int(n) // 2 for n in train} & {int(n) // 2 for n in held}
    assert held


def test_grpo_is_asked_what_failed_too(traces: str) -> None:
    line = done("grpo", "teacher_rcl", *traces.split(), *GRPO)
    run = RunDir.open("checkpoints/grpo", "grpo")
    lineage = read_lineage(run.path)
    assert line == (
        f"grpo: 2 steps on {len(lineage.train)} tasks of {len(lineage.train)} sessions, "
        f"{len(lineage.eval)} tasks of {len(lineage.eval)} held out; model: checkpoints/grpo/final"
    )
    assert {int(n) for n in lineage.train + lineage.eval} == set(range(1, 41))
    assert any(int(n) % 3 == 0 for n in lineage.train)
    assert not {int(n) // 2 for n in lineage.train} & {int(n) // 2 for n in lineage.eval}
    assert read_lineage(run.checkpoints / "step_000001") == read_lineage(run.final) == lineage
    assert [json.loads(text)["step"] for text in run.metrics.read_text().splitlines()] == [1, 2]


def test_a_teacher_is_measured_on_what_its_run_held_out(traces: str) -> None:
    words = [word for word in GRPO if not word.startswith("evaluate_tasks")]
    said = atlas("grpo", "teacher_rcl", *traces.split(), *words, "evaluate_tasks=3").output
    run = RunDir.open("checkpoints/grpo", "grpo")
    held = read_tasks(run.held_out, check=lambda task: None)
    assert {task.question for task in held}.isdisjoint({task["question"] for task in rollouts(run)})
    assert "Measured on 3 held-out tasks" in said
    pairs = read_pairs(run.measured / "eval" / "pairs.jsonl")
    assert [pair.task for pair in pairs] == held[:3]
    assert {pair.arm for pair in pairs} == {"grpo"}
    assert "not evaluated yet" not in run.report.read_text().lower()

    shown = atlas("evaluate", "checkpoints/grpo")
    assert "Measured on 3 held-out tasks" in shown.output, shown.exception
    again = atlas("evaluate", "checkpoints/grpo", "num_tasks=2", "--fresh")
    assert "Measured on 2 held-out tasks" in again.output, again.exception


def test_a_run_is_measured_later_where_that_was_switched_off(traces: str) -> None:
    said = atlas("grpo", "teacher_rcl", *traces.split(), *GRPO).output
    assert "Measured on" not in said
    shown = atlas("evaluate", "checkpoints/grpo", "num_tasks=2")
    assert "Measured on 2 held-out tasks" in shown.output, shown.exception


def test_a_run_without_held_out_tasks_says_how_it_can_be_measured(traces: str) -> None:
    words = [word for word in GRPO if not word.startswith(("evaluate_tasks", "eval_split"))]
    said = atlas("grpo", "teacher_rcl", *traces.split(), *words, "eval_split_ratio=0").output
    assert "not measured: no task was held out" in said
    assert "keeps no held-out task" in refusal("evaluate", "checkpoints/grpo")
    done("sft", "teacher_sft", *traces.split(), *SFT, "output_dir=warm")
    assert "knows no student" in refusal("evaluate", "warm")


def test_a_run_goes_on_with_the_sessions_that_it_was_begun_with(
    traces: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies after a checkpoint; meanwhile sessions come, and later some go."""
    words = ("sft", "teacher_sft", *traces.split(), *SFT, "limit=12", "save_steps=1")
    straight = done(*words, "output_dir=straight")
    done(*words, "output_dir=broken")
    broken = RunDir.open("broken")
    for finished in (broken.path / "stages", broken.final, broken.checkpoints / "step_000002"):
        shutil.rmtree(finished, ignore_errors=True)
    everything = [recorded(n, task=f"Add {n} and 500.") for n in range(900, 905)] + sessions()
    write_jsonl("traces.jsonl", everything)
    assert done(*words, "output_dir=broken") == straight.replace("straight", "broken")
    assert read_lineage("broken") == read_lineage("straight")
    expected = load_model("straight/final").state_dict()
    for name, tensor in load_model("broken/final").state_dict().items():
        assert torch.equal(tensor, expected[name]), name

    assert "broken is finished; --fresh trains again" in refusal(*words, "output_dir=broken")
    shutil.rmtree(broken.path / "stages")
    assert "begun with other settings (seed was " in refusal(*words, "output_dir=broken", "seed=3")
    gone = read_lineage("broken").train[0]
    write_jsonl("traces.jsonl", [each for each in everything if str(each.id) != gone])
    assert "was begun with 12 sessions, of which traces.jsonl has lost or changed 1;" in refusal(
        *words, "output_dir=broken"
    )
    done(*words, "output_dir=broken", "--fresh")
    assert gone not in read_lineage("broken").train


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("min_reward=0.9", "learning_key=other"), "nothing to train on in traces.jsonl: 0 sess"),
        (("export_path=nowhere.jsonl",), "can't read nowhere.jsonl"),
        (("model_name_or_path=.",), "no tokenizer can be loaded from '.'"),
    ],
)
def test_a_mistake_can_be_mended_without_starting_over(
    traces: str, words: Sequence[str], message: str
) -> None:
    command = ("sft", "teacher_sft", *traces.split(), *SFT, "limit=4")
    assert message in refusal(*command, *words)
    assert not Path("checkpoints/sft/config.yaml").exists()
    if "model_name_or_path=." in words:
        done(*command)


SOLVE = (
    "environment=solve",
    "model_name_or_path=base",
    "max_steps=3",
    "num_generations=8",
    "gradient_accumulation_steps=4",
    "max_new_tokens=64",
    "temperature=1.5",  # the base model is seldom right alone; here some of a group are
    "learning_rate=1e-3",
    "canary_tasks=2",
    "canary_steps=2",
    "save_steps=1",
    "num_threads=1",
)


def test_a_policy_that_answers_itself_is_trained_resumed_and_measured(traces: str) -> None:
    """The preset names a student that isn't there: none is met."""
    easy = [recorded(n, task=f"Calculate {n} + 1.", final_answer=str(n + 1)) for n in range(1, 9)]
    write_jsonl("traces.jsonl", easy)
    words = ("grpo", "teacher_rcl", *traces.split(), *SOLVE)
    assert "tasks: 8, each met 1.5 times in 3 steps" in atlas(*words, "--dry-run").output
    done(*words, "output_dir=solved")
    run = RunDir.open("solved")
    steps = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    names = {name for step in steps for name in step}
    assert {"train/accuracy", "part/right", "reward/verifier", "canary/accuracy"} <= names
    assert "train/abstained_share/verifier" in names
    assert not [name for name in names if "uplift" in name or "taught" in name]
    assert len(list(run.rollouts.iterdir())) == 3
    learned = load_model("solved/final").state_dict()
    assert any(not torch.equal(learned[k], v) for k, v in load_model("base").state_dict().items())

    for finished in (run.path / "stages", run.final):
        shutil.rmtree(finished)
    done(*words, "output_dir=solved")
    again = load_model("solved/final").state_dict()
    assert all(torch.equal(learned[name], tensor) for name, tensor in again.items())
    said = atlas("evaluate", "base", "student_model=solved/final", "num_tasks=2", "output_dir=ev")
    assert "student alone" in said.output


BROKEN = {
    "a model that isn't there": ("sft", "model_name_or_path=nowhere"),
    "a folder without a model": ("sft", "model_name_or_path=."),
    "nothing to train on": ("sft", "min_reward=0.9", "learning_key=other"),
    "an adapter on nothing": ("sft", "use_peft=true", "lora_target_modules=[nothing]"),
    "keys that contradict": ("sft", "zero_stage=3"),
    "a student that isn't whole": ("grpo", "student_model=."),
    "an environment of nobody": ("grpo", "environment=nobody:Nothing"),
    "a teacher of evaluate": ("evaluate", "teachers=[.]"),
    "a teacher of collect": ("collect", "teacher_model=."),
}


@pytest.mark.parametrize("what", list(BROKEN))
def test_what_is_refused_leaves_the_earlier_run_as_it_was(traces: str, what: str) -> None:
    job, *wrong = BROKEN[what]
    run = RunDir.create("run", job)
    run.metrics.write_text("steps")
    run.finish_stage(job, {"steps": 3}, 1.0)
    before = texts(run.path)
    words = {
        "sft": ("teacher_sft", *traces.split(), *SFT),
        "grpo": ("teacher_rcl", *traces.split(), *GRPO),
    }.get(job, ())
    refusal(job, *words, *wrong, "output_dir=run", "--fresh")
    assert texts(run.path) == before


def rollouts(run: RunDir) -> list[dict[str, object]]:
    """Return every row of a run's rollouts."""
    return [row for file in run.rollouts.glob("*.parquet") for row in read_table(file).to_pylist()]


def texts(path: Path) -> dict[Path, str]:
    found = (file for file in path.rglob("*") if file.is_file() and file.name != ".lock")
    return {file: file.read_text() for file in found}
