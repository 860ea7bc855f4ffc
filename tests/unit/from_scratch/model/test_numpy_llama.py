from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.tiny_models import tiny_model
from transformers import PreTrainedModel

from atlas.errors import AtlasError, printable
from atlas.from_scratch.model.numpy_llama import Cache, NumpyLlama
from atlas.from_scratch.model.pickled import write_pickled
from atlas.from_scratch.model.tokenizer import train_tokenizer
from atlas.models.checkpoints import copy_model, save_model


@pytest.fixture(params=["tied", "untied", "grouped"])
def saved(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, PreTrainedModel]:
    tokenizer = train_tokenizer(["Calculate 1 + 2. Answer: 3"], vocab_size=290)
    model = tiny_model(
        vocab_size=len(tokenizer),
        num_key_value_heads=2 if request.param == "grouped" else 4,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=request.param != "untied",
    )
    arrays = {name: ("float32", p.detach().numpy()) for name, p in model.named_parameters()}
    save_model(tmp_path / "m", model, tokenizer)
    (tmp_path / "m" / "manifest.json").unlink()  # the tests change files
    write_pickled(tmp_path / "m" / "model_weights.pkl", arrays)
    return tmp_path / "m", model


def test_logits_are_those_of_transformers(saved: tuple[Path, PreTrainedModel]) -> None:
    folder, model = saved
    ids = [5, 6, 200, 7, 7, 40]
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    assert np.allclose(NumpyLlama.load(folder).logits(ids), expected, atol=1e-4)


def test_a_cache_changes_nothing(saved: tuple[Path, PreTrainedModel]) -> None:
    small = NumpyLlama.load(saved[0])
    ids = [5, 6, 200, 7, 7, 40]
    cache: Cache = {}
    pieces = [small.logits(part, cache) for part in (ids[:3], ids[3:4], ids[4:])]
    assert np.allclose(np.concatenate(pieces), small.logits(ids), atol=1e-5)


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
    # Half of a character waits for its rest; only the last piece may be cut.
    *pieces, _ = small.stream("1 + 2", max_new_tokens=6)
    assert not [piece for piece in pieces if piece.endswith("\ufffd")]


def test_a_token_without_a_row_is_refused(saved: tuple[Path, PreTrainedModel]) -> None:
    folder, model = saved
    tokens = json.loads((folder / "tokenizer.json").read_text())
    rows = model.config.vocab_size
    tokens["added_tokens"].append(tokens["added_tokens"][0] | {"id": rows, "content": "<|note|>"})
    (folder / "tokenizer.json").write_text(json.dumps(tokens))
    with pytest.raises(AtlasError, match=f"{rows + 1} tokens, and the model {rows} rows"):
        NumpyLlama.load(folder)


def test_a_flipped_bit_is_found_where_there_is_a_manifest(
    tmp_path: Path, saved: tuple[Path, PreTrainedModel]
) -> None:
    copy_model(saved[0], tmp_path / "copy")
    NumpyLlama.load(tmp_path / "copy")
    file = tmp_path / "copy" / "model_weights.pkl"
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(data)
    with pytest.raises(AtlasError, match=r"model_weights\.pkl has changed since manifest\.json"):
        NumpyLlama.load(tmp_path / "copy")


def test_the_model_s_own_template_is_used(saved: tuple[Path, PreTrainedModel]) -> None:
    folder, _ = saved
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}Q: {{ m['content'] }}\n{% endfor %}A:"
    )
    assert NumpyLlama.load(folder).render("1 + 2") == "Q: 1 + 2\nA:"
    (folder / "chat_template.jinja").write_text("{{ ().__class__.__bases__ }}")
    with pytest.raises(AtlasError, match="chat template fails: SecurityError: access to attribute"):
        NumpyLlama.load(folder).render("1 + 2")


def test_a_prompt_beyond_the_window_is_told(saved: tuple[Path, PreTrainedModel]) -> None:
    with pytest.raises(AtlasError, match=r"and the model's window 64; shorten it"):
        NumpyLlama.load(saved[0]).answer("1 + 2 " * 40)


def test_asking_needs_no_torch(saved: tuple[Path, PreTrainedModel]) -> None:
    folder, _ = saved
    code = (
        "import sys; sys.argv = ['atlas', 'ask', sys.argv[1], '1 + 2', '--max-new-tokens', '6']\n"
        "from atlas.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'torch was loaded'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    expected = NumpyLlama.load(folder).answer("1 + 2", max_new_tokens=6)
    assert "".join(done.stdout.split()) == "".join(printable(expected).split())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model_type": "gpt2"}, "model_type is gpt2, and NumPy runs llama only"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "rope_type is llama3"),
        ({"attention_bias": True}, "attention_bias is True"),
    ],
)
def test_what_it_can_t_compute_is_refused(
    saved: tuple[Path, PreTrainedModel], changed: dict[str, Any], message: str
) -> None:
    folder, _ = saved
    config = json.loads((folder / "config.json").read_text()) | changed
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(AtlasError, match=message):
        NumpyLlama.load(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 9},
        {"num_attention_heads": 0},
        {"rms_norm_eps": "small"},
        {"max_position_embeddings": None},
        {"rope_parameters": 5, "rope_scaling": 5},
    ],
)
def test_a_configuration_that_does_not_fit_is_one_line(
    saved: tuple[Path, PreTrainedModel], changes: dict[str, Any]
) -> None:
    folder, _ = saved
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(AtlasError, match=r"don't fit together|rope_type is 5"):
        NumpyLlama.load(folder)


def test_a_missing_file_is_told(saved: tuple[Path, PreTrainedModel]) -> None:
    folder, _ = saved
    (folder / "model_weights.pkl").unlink()
    with pytest.raises(AtlasError, match=r"has no model_weights.pkl; atlas export .* --format pkl"):
        NumpyLlama.load(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja"])
def test_a_file_that_is_missing_or_broken_is_named(
    saved: tuple[Path, PreTrainedModel], name: str
) -> None:
    folder, _ = saved
    (folder / name).write_bytes(b"\xff{")
    with pytest.raises(AtlasError, match=f"{folder / name} can't be read: ") as caught:
        NumpyLlama.load(folder)
    assert "\n" not in str(caught.value)
    (folder / name).unlink()
    with pytest.raises(AtlasError, match=f"{folder} holds no model that .* {name} is missing"):
        NumpyLlama.load(folder)
