"""When a checkpoint is written, and what a run that goes on finds in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from atlas.config.parts.run import RunConfig
from atlas.parallel.engine.plain import PlainEngine
from atlas.run.stopping import StopRequest
from atlas.training.resuming import Resumable

CONFIG = RunConfig(output_dir="run")


def resumable(folder: Path, stop: StopRequest, save_steps: int = 2) -> Resumable:
    """Six steps; two checkpoints are kept."""
    return Resumable(folder, total_steps=6, save_steps=save_steps, keep=2, stop=stop)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*"))


def test_checkpoints_fall_due_and_the_newest_is_gone_on_from(
    tmp_path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    engine = PlainEngine(model, learning_rate=1e-3, total_steps=6)
    saved = resumable(tmp_path, StopRequest())
    assert (saved.folder, saved.state, saved.first) == (None, {}, 0)
    saved.restore(engine, CONFIG)
    for step in range(1, 7):
        engine.step()
        saved.save_if_due(step, engine, tokenizer, skipped=step - 1)
    # Not after step 6: the final model is written then.
    assert names(tmp_path) == ["step_000002", "step_000004"]

    again = resumable(tmp_path, StopRequest())
    assert again.folder == tmp_path / "step_000004"
    assert (again.first, again.state["skipped"]) == (4, 3)
    other = PlainEngine(model, learning_rate=1e-3, total_steps=6)
    again.restore(other, CONFIG)
    assert other.state()["schedule"]["last_epoch"] == 4


@pytest.mark.parametrize("save_steps", [0, 4])
def test_a_stop_saves_at_once(
    tmp_path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, save_steps: int
) -> None:
    engine, stop = PlainEngine(model, learning_rate=1e-3, total_steps=6), StopRequest()
    saved = resumable(tmp_path, stop, save_steps)
    saved.save_if_due(2, engine, tokenizer)
    assert names(tmp_path) == []
    stop.asked = True
    saved.save_if_due(3, engine, tokenizer)
    assert names(tmp_path) == ["step_000003"]


def test_what_is_damaged_is_passed_over_and_said(
    tmp_path: Path,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = PlainEngine(model, learning_rate=1e-3, total_steps=6)
    saved = resumable(tmp_path, StopRequest())
    for step in range(1, 7):
        saved.save_if_due(step, engine, tokenizer)
    noted: list[str] = []
    for name, goes_on in (("step_000004", "from step_000002"), ("step_000002", "from the start")):
        (tmp_path / name / "state.pt").write_text("x")
        noted.clear()
        Resumable(
            tmp_path, total_steps=6, save_steps=2, keep=2, stop=StopRequest(), note=noted.append
        )
        assert f"{tmp_path / name} is damaged and passed over; the run goes on {goes_on}" in (
            " ".join(noted)
        )
        assert noted[-1] in caplog.text
