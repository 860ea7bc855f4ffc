"""A checkpoint's large files in parts: stock transformers loads them, and they are one state."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tests.unit.saved import save_checkpoint
from tests.unit.tiny_models import tiny_model, tiny_tokenizer
from transformers import AutoModelForCausalLM

from atlas.models.checkpoints import is_whole, load_model, load_state
from atlas.models.manifest import sha256
from atlas.models.parts import write_part

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
@pytest.mark.parametrize("num_parts", [1, 3])
@torch.no_grad()
def test_a_checkpoint_in_parts_is_a_model_folder(tmp_path: Path, kind: str, num_parts: int) -> None:
    model, folder = tiny_model(kind), tmp_path / "step_000003"
    states = [
        {"engine": {"optimizer": {"state": {part: {"exp_avg": torch.ones(2) * part}}}}}
        for part in range(num_parts)
    ]
    first, *others = states
    save_checkpoint(folder, model, tiny_tokenizer(), {"step": 3, **first}, *others)
    assert is_whole(folder)
    files = sorted(path.name for path in folder.glob("model*.safetensors"))
    assert len(files) == num_parts
    for load in (load_model, AutoModelForCausalLM.from_pretrained):
        assert torch.equal(load(folder)(IDS).logits, model(IDS).logits)
    moments = load_state(folder)["engine"]["optimizer"]["state"]
    assert {index: own["exp_avg"][0].item() for index, own in moments.items()} == {
        part: float(part) for part in range(num_parts)
    }
    (folder / files[-1]).write_bytes(b"x")
    assert not is_whole(folder)


def test_tensors_of_any_type_come_back_and_the_digest_is_the_file_s(tmp_path: Path) -> None:
    tensors = {
        "flags": torch.tensor([True, False, True]),
        "half": torch.randn(3, 5).bfloat16(),
        "one": torch.tensor(2.5),
        "none": torch.zeros(0, 4),
        "turned": torch.randn(4, 6, dtype=torch.float64).T,
    }
    written = write_part(tmp_path, tensors, {}, 0, 1)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(tensors)
        assert all(torch.equal(file.get_tensor(name), t) for name, t in tensors.items())
    assert written.digests == {name: sha256(tmp_path / name) for name in written.digests}
    assert written.digests.keys() == {"model.safetensors", "state.pt"}
