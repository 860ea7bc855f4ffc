"""The main job through the real command, at a tiny size: interrupted, resumed, read back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from atlas.cli.app import main
from atlas.data.tasks import is_held_out
from atlas.evaluation.pairs_file import read_pairs
from atlas.run.lineage import read_lineage
from atlas.run.run_dir import RunDir
from atlas.traces.embedded.server import EmbeddedPostgres
from atlas.training_data import get_training_sessions

TINY = (
    "collect_tasks=60",
    "grpo_max_steps=3",
    "grpo_num_generations=4",
    "grpo_per_device_train_batch_size=4",
    "eval_tasks=24",
    "student_max_new_tokens=64",
)
PATIENCE_S = 240


def command(*arguments: str) -> list[str]:
    """The installed command, run by this interpreter."""
    return [sys.executable, "-m", "atlas", *arguments]


def atlas(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def interrupt_after(folder: Path, sign: Path, *arguments: str) -> tuple[int, str]:
    """Start a command, press Ctrl-C once ``sign`` exists, return exit code and output."""
    process = subprocess.Popen(
        command(*arguments),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    deadline = time.monotonic() + PATIENCE_S
    while not sign.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, output


@pytest.fixture(scope="module")
def finished() -> Iterator[tuple[Path, str]]:
    """A quickstart that was interrupted after its first stage and then brought to its end."""
    # Outside of pytest's own folders; see the session's server in tests/conftest.py.
    folder = Path(tempfile.mkdtemp(prefix="atlas-tests-"))
    sign = folder / "runs" / "quickstart" / "stages" / "collect.json"
    code, output = interrupt_after(folder, sign, "quickstart", *TINY)
    assert code == 130, output
    assert "goes on from where it stopped" in output
    assert not (folder / "runs" / "quickstart" / "report.html").exists()
    done = atlas(folder, "quickstart", *TINY)
    assert done.returncode == 0, done.stderr
    yield folder, done.stdout
    shutil.rmtree(folder, ignore_errors=True)


def test_it_prints_the_claims_and_where_everything_is(finished: tuple[Path, str]) -> None:
    folder, output = finished
    assert "24 held-out tasks" in output
    for path in ("runs/quickstart/report.html", "results/rl_checkpoint"):
        assert path in output
        assert (folder / path).exists()


def test_the_sessions_are_real_rows_of_postgresql(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    run = RunDir.open(folder / "runs" / "quickstart")
    with EmbeddedPostgres.start(run.postgres) as server:
        sessions = get_training_sessions(db_url=server.db_url)
        good = get_training_sessions(
            db_url=server.db_url, min_reward=0.8, status_filters=["succeeded"]
        )
    assert len(sessions) == 60
    assert len({session.task for session in sessions}) == 60
    assert 0 < len(good) < 60
    assert {len(session.trajectory_events or ()) for session in sessions} == {4}
    assert run.stage_summary("sft")["sessions"] == len(good)
    learned, asked = read_lineage(run.path / "sft" / "final"), read_lineage(run.path / "grpo")
    assert {*learned.train, *learned.eval} == {str(session.id) for session in good}
    assert {*asked.train} == {str(session.id) for session in sessions}


def test_the_walkthrough_reads_it_from_the_first_cell_to_the_last(
    finished: tuple[Path, str],
) -> None:
    folder, _ = finished
    notebook = Path(__file__).resolve().parents[2] / "docs" / "walkthrough.ipynb"
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(["display = print", *code])],
        cwd=folder,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(code) > 5


def test_no_held_out_task_was_seen(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    run = RunDir.open(folder / "runs" / "quickstart")
    pairs = read_pairs(run.pairs)
    assert {pair.arm for pair in pairs} == {"sft", "grpo"}
    by_arm = {arm: [p.task.id for p in pairs if p.arm == arm] for arm in ("sft", "grpo")}
    assert by_arm["sft"] == by_arm["grpo"]
    assert all(is_held_out(pair.task) for pair in pairs)
    with EmbeddedPostgres.start(run.postgres) as server:
        seen = {session.task for session in get_training_sessions(db_url=server.db_url)}
    assert not seen & {pair.task.question for pair in pairs}


def test_metrics_have_every_step_once(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    lines = (folder / "runs/quickstart/grpo/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def test_the_guide_s_snippet_loads_the_checkpoint(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    results = folder / "results" / "rl_checkpoint"
    teacher = AutoModelForCausalLM.from_pretrained(
        results, torch_dtype=torch.float16, device_map="auto"
    )
    tokenizer = AutoTokenizer.from_pretrained(results)
    assert teacher.dtype == torch.float16
    problem = "A train travels 120 miles in 2 hours. What is its speed?"
    inputs = tokenizer(problem, return_tensors="pt").to(teacher.device)
    output = teacher.generate(**inputs, max_new_tokens=5)
    assert problem in tokenizer.decode(output[0])
    for name in ("pytorch_model.bin", "config.json", "trainer_state.json"):
        assert (results / name).is_file(), name
    assert (folder / "results" / "logs" / "train.log").is_file()


def test_teach_shows_both_answers(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    shown = atlas(folder, "teach", "Calculate 7 - 3 + 5.")
    assert shown.returncode == 0, shown.stderr
    titles = [line for line in shown.stdout.splitlines() if line and not line.startswith(" ")]
    assert titles == ["student alone", "student's approach", "teaching", "student taught"]


def test_other_settings_in_the_same_folder_are_refused(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    refused = atlas(folder, "quickstart", *TINY, "seed=7")
    assert refused.returncode == 2
    assert "begun with other settings (seed was " in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("quickstart", "families=[chain_sums]"), "did you mean 'chain_sum'?"),
        (("teach", "Calculate 1 + 1."), "results/rl_checkpoint"),
        (("report", "nowhere"), "nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process: most of a command's start is imports, and the one below is a real one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["atlas", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())


def test_a_misspelt_key_ends_the_process_with_exit_code_2(tmp_path: Path) -> None:
    result = atlas(tmp_path, "quickstart", "grpo_max_stps=3")
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert "grpo_max_steps" in line
    assert not list(tmp_path.iterdir())


def test_a_run_of_another_version_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "quickstart"
    run.mkdir(parents=True)
    written = json.dumps({"layout_version": 99, "kind": "quickstart"})
    (run / "run.json").write_text(written)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["atlas", "quickstart", *TINY])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "layout version 99" in capsys.readouterr().err
    assert (run / "run.json").read_text() == written
