"""Checkpoints written beside the training: of one moment, and whole or not there."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.unit.tiny_models import tiny_model, tiny_tokenizer

from atlas.errors import AtlasError
from atlas.models import checkpoints
from atlas.models.checkpoints import load_state, newest_checkpoint
from atlas.models.manifest import sha256
from atlas.parallel.distributed import ALONE
from atlas.parallel.engine.plain import PlainEngine
from atlas.training import saving
from atlas.training.saving import Saver


def trained() -> PlainEngine:
    """An engine that has taken a step."""
    engine = PlainEngine(tiny_model(), learning_rate=0.1, total_steps=9)
    step(engine)
    return engine


def step(engine: PlainEngine) -> None:
    ids = torch.tensor([[5, 6, 7, 8]])
    loss: Any = engine.model(input_ids=ids, labels=ids).loss
    engine.backward(loss)
    engine.step()


def test_the_training_goes_on_while_what_it_was_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, goes_on, done = trained(), threading.Event(), list[Path]()
    before = {name: p.detach().clone() for name, p in engine.model.named_parameters()}
    mean = engine.state()["optimizer"]["state"][0]["exp_avg"]
    write = saving.write_part

    def write_later(*given: Any) -> Any:
        assert goes_on.wait(60)
        return write(*given)

    monkeypatch.setattr(saving, "write_part", write_later)
    saver, counted = Saver(ALONE, done.append), [1]
    folder = tmp_path / "step_000001"
    saver.save(folder, engine, tiny_tokenizer(), {"step": 1, "counted": counted}, {})
    counted.append(2)
    step(engine)
    assert newest_checkpoint(tmp_path) is None
    assert done == []
    goes_on.set()
    saver.wait()
    assert done == [folder] == [newest_checkpoint(tmp_path)]
    found = load_file(folder / "model.safetensors")
    assert all(torch.equal(found[name], weight) for name, weight in before.items())
    assert not torch.equal(
        found["model.norm.weight"], engine.model.state_dict()["model.norm.weight"]
    )
    state = load_state(folder)
    assert state["counted"] == [1]
    assert torch.equal(state["engine"]["optimizer"]["state"][0]["exp_avg"], mean)


def test_large_files_are_hashed_on_their_way_and_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(
        checkpoints, "sha256", lambda path: (read.append(path.name), sha256(path))[1]
    )
    saver = Saver(ALONE, lambda folder: None)
    saver.save(tmp_path / "step_000001", trained(), tiny_tokenizer(), {"step": 1}, {})
    saver.wait()
    assert "config.json" in read
    assert not {"model.safetensors", "state.pt"} & set(read)
    assert newest_checkpoint(tmp_path) == tmp_path / "step_000001"  # the digests are right


def test_what_could_not_be_written_is_said_by_the_next_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    engine, saver = trained(), Saver(ALONE, lambda folder: None)
    monkeypatch.setattr(saving, "write_part", full)
    saver.save(tmp_path / "step_000001", engine, tiny_tokenizer(), {"step": 1}, {})
    with pytest.raises(AtlasError, match=r"the disk is full: .*step_000001 could not be written"):
        saver.save(tmp_path / "step_000002", engine, tiny_tokenizer(), {"step": 2}, {})
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.unit.tiny_models import tiny_tokenizer
from tests.unit.training.test_saving import trained
from atlas.models import parts
from atlas.parallel.distributed import ALONE
from atlas.training.saving import Saver

folder, engine, saver = Path(sys.argv[1]), trained(), Saver(ALONE, lambda folder: None)
saver.save(folder / "step_000001", engine, tiny_tokenizer(), {"step": 1}, {})
saver.wait()
synced = os.fsync
def fsync(file):
    synced(file)
    if any(folder.glob(f".step_000002.*/{sys.argv[2]}")):
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
saver.save(folder / "step_000002", engine, tiny_tokenizer(), {"step": 2}, {})
saver.wait()
"""


@pytest.mark.parametrize("last", ["model.safetensors", "state.pt", "manifest.json"])
def test_a_process_killed_in_between_leaves_the_checkpoint_before(
    tmp_path: Path, last: str
) -> None:
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", KILLED, str(tmp_path), last]
    assert subprocess.run(command, cwd=root, check=False).returncode == -9
    assert list(tmp_path.glob(f".step_000002.*.partial/{last}"))
    assert newest_checkpoint(tmp_path) == tmp_path / "step_000001"
    checkpoints.remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step_000001"]
