"""Model folders and checkpoints: whole or not there, and nothing in them runs code."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tests.unit.saved import save_checkpoint
from tests.unit.tiny_models import adapted_model, tiny_model, tiny_tokenizer
from transformers import AutoModelForCausalLM, PreTrainedModel

from atlas.errors import AtlasError
from atlas.models import checkpoints
from atlas.models.checkpoints import (
    is_whole,
    load_model,
    load_state,
    load_tokenizer,
    newest_checkpoint,
    prune_checkpoints,
    save_model,
    step_name,
    weights_sha256,
)

IDS = torch.tensor([[5, 6, 7, 8]])


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
def test_a_model_comes_back_equal(tmp_path: Path, kind: str) -> None:
    model = tiny_model(kind)
    save_model(tmp_path / "a" / "final", model, tiny_tokenizer())
    assert is_whole(tmp_path / "a" / "final")
    assert torch.equal(logits(load_model(tmp_path / "a" / "final")), logits(model))
    # Stock transformers, without anything of Atlas.
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "a" / "final")
    assert torch.equal(logits(stock), logits(model))


def test_a_model_with_an_adapter_is_saved_merged_and_its_adapter_beside_it(tmp_path: Path) -> None:
    model = adapted_model("qwen3")
    extra = {"prompts/teaching.txt": "{task}"}
    save_model(tmp_path / "final", model, tiny_tokenizer(), with_bin=True, extra=extra)
    assert is_whole(tmp_path / "final")
    for folder in ("final", "final/adapter"):
        assert (tmp_path / folder / "prompts" / "teaching.txt").read_text() == "{task}"
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "final")
    torch.testing.assert_close(logits(stock), logits(model), rtol=0, atol=2e-5)
    state = torch.load(tmp_path / "final" / "pytorch_model.bin", weights_only=True)
    assert state.keys() == stock.state_dict().keys()
    apart = PeftModel.from_pretrained(tiny_model("qwen3"), tmp_path / "final" / "adapter")
    assert torch.equal(logits(apart), logits(model))  # pyright: ignore[reportArgumentType]
    flip_a_byte(tmp_path / "final" / "adapter" / "adapter_model.safetensors")
    assert not is_whole(tmp_path / "final")


def test_a_checkpoint_of_an_adapter_holds_nothing_else_of_the_model(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "step_000001", adapted_model(), tiny_tokenizer(), {"step": 1})
    names = {path.name for path in (tmp_path / "step_000001").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "state.pt"} < names
    assert not names & {"model.safetensors", "config.json", "README.md", "adapter"}


def test_the_tokenizer_comes_back_with_its_template(tmp_path: Path) -> None:
    model = tiny_model(vocab_size=len(tiny_tokenizer()))
    save_model(tmp_path / "final", model, tiny_tokenizer(), extra={"lineage.json": "{}"})
    found = load_tokenizer(tmp_path / "final")
    messages = [{"role": "user", "content": "Calculate 1 + 2."}]
    assert found.chat_template == tiny_tokenizer().chat_template
    assert found.apply_chat_template(messages) == tiny_tokenizer().apply_chat_template(messages)
    assert found.eos_token == "<|end|>"
    assert (tmp_path / "final" / "lineage.json").read_text() == "{}"


def test_the_bin_holds_the_same_weights_and_loads_as_weights_only(tmp_path: Path) -> None:
    model = tiny_model()
    save_model(tmp_path / "final", model, tiny_tokenizer(), with_bin=True)
    pickled = torch.load(tmp_path / "final" / "pytorch_model.bin", weights_only=True)
    safe = load_file(tmp_path / "final" / "model.safetensors")
    # Tied weights are in a safetensors file once, in the other under both names.
    assert pickled.keys() == model.state_dict().keys() >= safe.keys()
    assert all(torch.equal(pickled[name], tensor) for name, tensor in safe.items())
    assert torch.equal(pickled["lm_head.weight"], safe["model.embed_tokens.weight"])

    (tmp_path / "final" / "model.safetensors").unlink()
    alone = AutoModelForCausalLM.from_pretrained(tmp_path / "final", use_safetensors=False)
    assert torch.equal(logits(alone), logits(model))


def test_a_model_is_loaded_in_the_precision_that_is_asked_for(tmp_path: Path) -> None:
    save_model(tmp_path / "final", tiny_model(dtype=torch.bfloat16), tiny_tokenizer())
    assert load_file(tmp_path / "final" / "model.safetensors")["model.norm.weight"].dtype == (
        torch.bfloat16
    )
    assert load_model(tmp_path / "final").dtype == torch.float32
    assert load_model(tmp_path / "final", dtype=torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("make", [tiny_model, adapted_model])
def test_a_model_is_rounded_on_its_way_to_disk_and_stays_as_it_is(
    tmp_path: Path, make: Callable[[], PreTrainedModel]
) -> None:
    model = make()
    before = {name: p.clone() for name, p in model.named_parameters()}
    save_model(tmp_path / "final", model, tiny_tokenizer(), dtype=torch.bfloat16, with_bin=True)
    save_model(tmp_path / "whole", model, tiny_tokenizer())
    assert json.loads((tmp_path / "final" / "config.json").read_text())["dtype"] == "bfloat16"
    rounded = load_file(tmp_path / "final" / "model.safetensors")
    whole = load_file(tmp_path / "whole" / "model.safetensors")
    assert rounded.keys() == whole.keys()
    assert all(torch.equal(rounded[name], whole[name].bfloat16()) for name in whole)
    pickled = torch.load(tmp_path / "final" / "pytorch_model.bin", weights_only=True)
    assert {tensor.dtype for tensor in pickled.values()} == {torch.bfloat16}
    assert model.dtype == torch.float32
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_a_folder_without_a_model_is_told_in_one_line(tmp_path: Path) -> None:
    for load in (load_model, load_tokenizer):
        with pytest.raises(AtlasError, match=rf"can be loaded from '{tmp_path}': \S") as caught:
            load(tmp_path)
        assert "\n" not in str(caught.value)


def test_a_checkpoint_brings_its_state_back(tmp_path: Path) -> None:
    model = tiny_model()
    state = {"step": 3, "engine": {"w": torch.arange(3.0)}, "best": [0.5, None]}
    save_checkpoint(tmp_path / "step_000003", model, tiny_tokenizer(), state)
    found = load_state(tmp_path / "step_000003")
    assert (found["step"], found["best"]) == (3, [0.5, None])
    assert torch.equal(found["engine"]["w"], torch.arange(3.0))
    assert torch.equal(logits(load_model(tmp_path / "step_000003")), logits(model))


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, ("evil_was_here",)


def test_a_state_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"step": 1, "x": Evil()}, tmp_path / "state.pt")
    with pytest.raises(AtlasError, match=r"state\.pt isn't the state of this training"):
        load_state(tmp_path)
    assert not (tmp_path / "evil_was_here").exists()


@pytest.mark.parametrize(
    "content", [[1], None, {"step": "a", "engine": {}}, {"step": 4}, {"engine": {}}, {"step": 0}]
)
def test_a_state_of_something_else_is_one_line(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "state.pt")
    with pytest.raises(AtlasError, match=r"state\.pt isn't the state of this training .*remove"):
        load_state(tmp_path)


@pytest.fixture(scope="module")
def saved_three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    for step in (1, 2, 10):
        save_checkpoint(
            folder / step_name(step), tiny_model(seed=step), tiny_tokenizer(), {"step": step}
        )
    return folder


@pytest.mark.parametrize("kind", ["model", "checkpoint"])
def test_saving_doesn_t_have_deepspeed_look_for_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """`transformers` imports it, where it is installed, to save a model."""
    if torch.cuda.is_available():
        pytest.skip("it finds one here")
    monkeypatch.setenv("DS_ACCELERATOR", "")
    monkeypatch.delenv("DS_ACCELERATOR")
    if kind == "model":
        save_model(tmp_path / "m", tiny_model(), tiny_tokenizer())
    else:
        save_checkpoint(tmp_path / "m", tiny_model(), tiny_tokenizer(), {})
    assert os.environ["DS_ACCELERATOR"] == "cpu"


@pytest.fixture
def three(saved_three: Path, tmp_path: Path) -> Path:
    """Three checkpoints, of steps 1, 2 and 10, which a test may spoil."""
    return shutil.copytree(saved_three, tmp_path / "checkpoints")


def test_the_newest_checkpoint_is_taken(three: Path) -> None:
    assert newest_checkpoint(three) == three / "step_000010"
    assert newest_checkpoint(three / "nothing") is None


def newest(folder: Path) -> Path:
    found = newest_checkpoint(folder)
    assert found is not None
    return found


@pytest.mark.parametrize("file", ["model.safetensors", "state.pt", "config.json"])
def test_a_damaged_checkpoint_is_passed_over(three: Path, file: str) -> None:
    flip_a_byte(three / "step_000010" / file)
    assert newest_checkpoint(three) == three / "step_000002"
    (three / "step_000002" / file).unlink()
    assert newest_checkpoint(three) == three / "step_000001"


@pytest.mark.parametrize("manifest", [None, "", "[]", "{}", '{"model.safetensors": 1}', "\xff"])
def test_a_checkpoint_whose_manifest_is_not_whole_is_none(
    three: Path, manifest: str | None
) -> None:
    path = three / "step_000010" / "manifest.json"
    path.unlink() if manifest is None else path.write_text(manifest, encoding="latin-1")
    assert newest_checkpoint(three) == three / "step_000002"


def test_what_is_no_checkpoint_is_passed_over(three: Path) -> None:
    """A half-written one that a killed process left, and names of other things."""
    (three / ".step_000011.partial").mkdir()
    (three / "step_000012").mkdir()
    (three / "step_notes.txt").touch()
    assert newest_checkpoint(three) == three / "step_000010"


def test_pruning_keeps_the_newest(three: Path) -> None:
    prune_checkpoints(three, keep=2, newest=newest(three))
    assert sorted(path.name for path in three.iterdir()) == ["step_000002", "step_000010"]
    prune_checkpoints(three, keep=5, newest=newest(three))
    assert len(list(three.iterdir())) == 2


def test_pruning_goes_by_number_past_a_million_steps(three: Path) -> None:
    (three / "step_000010").rename(three / step_name(1_000_000))
    (three / "step_000002").rename(three / step_name(999_999))
    assert newest_checkpoint(three) == three / "step_1000000"
    prune_checkpoints(three, keep=1, newest=newest(three))
    assert [path.name for path in three.iterdir()] == ["step_1000000"]


def test_pruning_never_takes_the_only_good_checkpoint(three: Path) -> None:
    flip_a_byte(three / "step_000010" / "state.pt")
    prune_checkpoints(three, keep=1, newest=newest(three))
    assert newest_checkpoint(three) == three / "step_000002"


def test_saving_again_replaces_the_folder_with_all_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "final"
    save_model(folder, tiny_model(seed=1), tiny_tokenizer(), with_bin=True)
    first = weights_sha256(folder)
    second_model = tiny_model(seed=2)
    save_model(folder, second_model, tiny_tokenizer())
    assert weights_sha256(folder) != first
    assert not (folder / "pytorch_model.bin").exists()
    assert torch.equal(logits(load_model(folder)), logits(second_model))
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_the_users_umask_decides_who_may_read_a_model(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_model(tmp_path / "final", tiny_model(), tiny_tokenizer(), with_bin=True)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "final").iterdir()}
    assert "model.safetensors" in modes
    assert modes == dict.fromkeys(modes, 0o640)


@pytest.mark.parametrize("moment", ["weights", "manifest"])
def test_a_full_disk_leaves_the_older_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    folder = tmp_path / "final"
    save_model(folder, tiny_model(seed=1), tiny_tokenizer())
    before = contents(folder)
    newer = tiny_model(seed=2)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if moment == "weights":
        monkeypatch.setattr(newer, "save_pretrained", full)
    else:
        monkeypatch.setattr(checkpoints, "write_atomic", full)
    with pytest.raises(AtlasError, match=f"the disk is full: {folder} could not be written"):
        save_model(folder, newer, tiny_tokenizer())
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_a_process_killed_between_the_renames_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older folder stands aside then; the next save, even one that fails, puts it back."""
    folder = tmp_path / "final"
    save_model(folder, tiny_model(seed=1), tiny_tokenizer())
    before = contents(folder)
    folder.rename(tmp_path / ".final.old")
    newer = tiny_model(seed=2)

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(newer, "save_pretrained", fail)
    with pytest.raises(RuntimeError, match="killed"):
        save_model(folder, newer, tiny_tokenizer())
    assert contents(folder) == before


def test_the_manifest_names_every_file_with_its_hash(tmp_path: Path) -> None:
    folder = tmp_path / "final"
    save_model(folder, tiny_model(), tiny_tokenizer(), with_bin=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest.keys() == {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert manifest["model.safetensors"] == weights_sha256(folder)
    assert {"config.json", "tokenizer.json", "chat_template.jinja"} <= manifest.keys()


@pytest.mark.parametrize(
    ("device", "expected"),
    [(None, None), ("cpu", None), ("cuda:1", {"": torch.device("cuda:1")})],
)
def test_weights_go_straight_to_the_accelerator_that_is_named(
    device: str | None, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    class Loader:
        @staticmethod
        def from_pretrained(name: str, **settings: object) -> None:
            asked.update(settings)

    monkeypatch.setattr(checkpoints, "AutoModelForCausalLM", Loader)
    monkeypatch.setattr(checkpoints, "refuse_nonsense", lambda folder, model: None)
    checkpoints.load_model("base", device=None if device is None else torch.device(device))
    assert asked["device_map"] == expected
