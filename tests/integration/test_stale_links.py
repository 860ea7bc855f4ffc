"""Links under ``results/`` whose run was removed or replaced, and what commands say of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.integration.test_training_commands import GRPO, SFT, done, refusal, sessions

from atlas.traces.jsonl import write_jsonl

LINK = "results/rl_checkpoint"
TRACES = ("data=runtime_traces", "export_path=traces.jsonl")


@pytest.fixture
def gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory in which the run that ``results/`` points into was removed."""
    monkeypatch.chdir(tmp_path)
    write_jsonl("traces.jsonl", sessions())
    Path("results").mkdir()
    Path(LINK).symlink_to("../runs/gone/final")
    Path("results/run").symlink_to("../runs/gone")
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("teach", "What is 2 + 3?"),
        ("teach", "What is 2 + 3?", "--teacher", LINK),
        ("evaluate", LINK, "num_tasks=2", "output_dir=new"),
        ("evaluate", "base", f"student_model={LINK}", "num_tasks=2", "output_dir=new"),
        ("sft", "teacher_sft", *TRACES, f"model_name_or_path={LINK}", "output_dir=new"),
        ("grpo", "teacher_rcl", *TRACES, *GRPO, f"student_model={LINK}", "output_dir=new"),
        ("export", LINK, "--format", "safetensors", "--output", "new"),
        ("report", "results/run"),
        ("doctor", "results/run"),
    ],
)
def test_a_link_to_a_run_that_is_gone_is_one_line(gone: Path, words: tuple[str, ...]) -> None:
    said = refusal(*words)
    assert "is a link to ../runs/gone" in said
    assert "which is gone" in said
    assert not (gone / "new").exists()


def test_the_next_run_links_anew(gone: Path) -> None:
    words = (*TRACES, *SFT, "output_dir=runs/next")
    Path("results/sft_checkpoint").symlink_to("../runs/gone/final")
    done("sft", "teacher_sft", *words)
    assert Path("results/sft_checkpoint").resolve() == gone / "runs" / "next" / "final"
    shutil.rmtree("runs/next")
    assert not Path("results/sft_checkpoint").exists()
    done("sft", "teacher_sft", *words)
    assert Path("results/sft_checkpoint/config.json").is_file()
