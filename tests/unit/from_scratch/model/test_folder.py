from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.unit.tiny_models import tiny_model
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from atlas.from_scratch.model.folder import save_model_folder
from atlas.from_scratch.model.pickled import as_float32, read_pickled
from atlas.models.checkpoints import is_whole, save_model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_folder_holds_the_model_twice_and_its_figures(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype
) -> None:
    model = tiny_model("llama", dtype, vocab_size=len(tokenizer))
    save_model(tmp_path / "final", model, tokenizer)
    parameters = save_model_folder(
        tmp_path / "final", tmp_path / "models" / "m", {"seed": 3, "loss": float("nan")}
    )
    folder = tmp_path / "models" / "m"
    assert parameters == model.num_parameters()
    assert is_whole(folder)
    written = json.loads((folder / "training_stats.json").read_text())
    assert written == {"parameters": parameters, "seed": 3, "loss": None}  # JSON has no NaN
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    assert list(vocabulary.values()) == sorted(vocabulary.values())
    assert vocabulary == tokenizer.get_vocab()
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder)
    assert loaded.dtype == dtype
    pickled = read_pickled(folder / "model_weights.pkl")
    for name, parameter in loaded.named_parameters():
        kind, numbers = pickled[name]
        assert kind == str(dtype).removeprefix("torch.")
        again = torch.from_numpy(as_float32(kind, numbers))
        assert torch.equal(again, parameter.detach().float()), name
    assert pickled.keys() == dict(loaded.named_parameters()).keys()
