from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.tiny_models import tiny_model
from transformers import PreTrainedModel

from atlas.checkpoints import save_model
from atlas.errors import AtlasError
from atlas.small_lm.numpy_llama import NumpyLlama
from atlas.small_lm.pickled import write_pickled
from atlas.small_lm.tokenizer import train_tokenizer


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def saved(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, PreTrainedModel]:
    tokenizer = train_tokenizer(["Calculate 1 + 2. Answer: 3"], vocab_size=290)
    model = tiny_model(
        vocab_size=len(tokenizer),
        num_key_value_heads=4,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=request.param,
    )
    arrays = {name: ("float32", p.detach().numpy()) for name, p in model.named_parameters()}
    save_model(tmp_path / "m", model, tokenizer)
    write_pickled(tmp_path / "m" / "model_weights.pkl", arrays)
    return tmp_path / "m", model


def test_logits_are_those_of_transformers(saved: tuple[Path, PreTrainedModel]) -> None:
    folder, model = saved
    ids = [5, 6, 200, 7, 7, 40]
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    assert np.allclose(NumpyLlama.load(folder).logits(ids), expected, atol=1e-4)


def test_answers_are_greedy_and_end_where_the_model_ends(
    saved: tuple[Path, PreTrainedModel],
) -> None:
    folder, model = saved
    small = NumpyLlama.load(folder)
    prompt = small.tokenizer.encode("<|user|>1 + 2<|end|><|assistant|>").ids
    ids = torch.tensor([prompt])
    row = model.generate(  # pyright: ignore[reportAttributeAccessIssue]
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False
    )[0]
    expected = small.tokenizer.decode(row[len(prompt) :].tolist(), skip_special_tokens=True)
    assert small.answer("1 + 2", max_new_tokens=6) == expected.strip()


def test_what_is_no_llama_is_told(saved: tuple[Path, PreTrainedModel]) -> None:
    folder, _ = saved
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "gpt2"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(AtlasError, match="is a gpt2; NumPy runs llama only"):
        NumpyLlama.load(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(AtlasError, match="holds no model"):
        NumpyLlama.load(folder)
