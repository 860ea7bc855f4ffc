"""Model folders: configurations, tokenizers, templates, weights in three formats, states."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import shutil
import struct
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.reliability.fuzz.broken import (
    ODD_TEXTS,
    as_json,
    damaged,
    documents,
    fuzz,
    mutated,
    refused,
    texts,
)

from atlas.errors import AtlasError
from atlas.from_scratch.data.text import documents as corpus_documents
from atlas.from_scratch.model.gguf_tokenizer import merges, split_name
from atlas.from_scratch.model.numpy_llama import NumpyLlama
from atlas.from_scratch.model.pickled import WEIGHTS, read_pickled, write_pickled
from atlas.machine.shipped import SHIPPED
from atlas.models.checkpoints import (
    check_model,
    load_model,
    load_state,
    load_tokenizer,
    newest_checkpoint,
)
from atlas.prompts.chat import answer_ids, encode, text_ids, turn_end_id
from atlas.prompts.folder import read_prompts, shipped_prompts

BASE = SHIPPED["base"]
SMALL = ("config.json", "generation_config.json", "tokenizer_config.json")


@cache
def tokenizer() -> Any:
    return load_tokenizer("base")


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as somebody else made it: the base model without our list of its files."""
    place = tmp_path_factory.getbasetemp() / "fuzzed-model"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(BASE, place, ignore=shutil.ignore_patterns("manifest.json"))
    return place


def put_back(folder: Path, *names: str) -> None:
    for name in names:
        shutil.copy(BASE / name, folder / name)


@fuzz(40)
@given(st.sampled_from(SMALL), st.data())
def test_a_model_folder(model: Path, name: str, data: st.DataObject) -> None:
    put_back(model, *SMALL)
    (model / name).write_bytes(data.draw(documents(json.loads((BASE / name).read_text()), 2)))
    refused(check_model, model)


@fuzz(15)
@given(st.data())
def test_weights_with_a_lying_header(model: Path, data: st.DataObject) -> None:
    content = (BASE / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = data.draw(documents(json.loads(content[8 : 8 + length]), 2))
    size = data.draw(st.sampled_from([len(header), len(header), 0, 2**63, len(header) + 1]))
    (model / "model.safetensors").write_bytes(
        struct.pack("<Q", size) + header + content[8 + length :]
    )
    loaded = refused(load_model, model)
    if loaded is not None:
        assert all(torch.isfinite(weight).all() for weight in loaded.parameters())


@fuzz(15)
@given(st.data())
def test_a_tokenizer(model: Path, data: st.DataObject) -> None:
    described = json.loads((BASE / "tokenizer.json").read_text())
    vocabulary = described["model"].pop("vocab")
    content = data.draw(mutated(described, 2))
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content["model"].setdefault("vocab", vocabulary)
    (model / "tokenizer.json").write_bytes(as_json(content))
    loaded = refused(load_tokenizer, model)
    if loaded is not None:
        refused(split_name, loaded)
        merges(loaded)


TEMPLATES = (
    *("{% for m in messages %}", "{% endfor %}", "{{ m['content'] }}", "{{ m.role }}", "{{ x }}"),
    *("<|user|>", "<|assistant|>", "<|end|>", "{% if add_generation_prompt %}", "{% endif %}"),
    *("{{ raise_exception('no') }}", "{{ 1 / 0 }}", "{% for i in range(10**9) %}x{% endfor %}"),
    *("{{ 'x' * 10**10 }}", "{{ ''.__class__.__mro__ }}", "{% macro f() %}{{ f() }}{% endmacro %}"),
    *("{{ f() }}", "{{ messages[9].content }}", "{{ cycler.__init__.__globals__.os }}", "{#", "{%"),
)


@fuzz(20)
@given(st.lists(st.sampled_from(TEMPLATES) | st.sampled_from(ODD_TEXTS), max_size=6).map("".join))
def test_a_chat_template(model: Path, template: str) -> None:
    (model / "chat_template.jinja").write_text(template, "utf-8", "replace")
    loaded = refused(load_tokenizer, model)
    if loaded is not None:
        ids = refused(encode, loaded, [{"role": "user", "content": "2 + 3?"}])
        assert ids is None or all(isinstance(token, int) for token in ids)


marked = st.lists(
    st.sampled_from(["<|end|>", "<|user|>", "<|assistant|>", "<|pad|>", "<|en", "d|>", " ", "5"])
    | texts.map(lambda text: text.encode("utf-8", "replace").decode()),
    max_size=6,
).map("".join)


@fuzz()
@given(marked)
def test_marks_in_a_text_are_text(text: str) -> None:
    special = {*tokenizer().all_special_ids, turn_end_id(tokenizer())}
    ids = text_ids(tokenizer(), text)
    assert not special & set(ids)
    assert tokenizer().decode(ids, skip_special_tokens=False) == text
    assert answer_ids(tokenizer(), text)[:-1] == ids
    asked = encode(tokenizer(), [{"role": "user", "content": text}])
    plain = encode(tokenizer(), [{"role": "user", "content": "x"}])
    assert sum(token in special for token in asked) == sum(token in special for token in plain)


@fuzz()
@given(texts, texts)
def test_a_prompt_holds_what_it_is_given(task: str, approach: str) -> None:
    (message,) = shipped_prompts("plain").render("teaching", task=task, approach=approach)
    assert task in message["content"]
    assert approach in message["content"]


def state(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


STATE: dict[str, Any] = {
    "step": 3,
    "engine": {"optimizer": {"state": {0: torch.ones(2)}}, "schedule": {"last_epoch": 3}},
    "best": None,
}


@fuzz(100)
@given(st.data())
def test_the_state_of_a_training(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    plain = {**STATE, "engine": {"schedule": {"last_epoch": 3}}}
    content = data.draw(damaged(state(STATE)) | mutated(plain).map(state))
    (folder / "state.pt").write_bytes(content)
    found = refused(load_state, folder)
    assert found is None or found["step"] >= 1
    newest_checkpoint(folder)


@cache
def pickled() -> bytes:
    file = io.BytesIO()
    document = {
        "format": "atlas.weights/1",
        "dtypes": {"a": "float32", "b": "bfloat16"},
        "tensors": {"a": np.ones((2, 3), np.float32), "b": np.ones(4, np.uint16)},
    }
    pickle.dump(document, file, protocol=5)
    return file.getvalue()


@fuzz(400)
@given(damaged(pickled()))
def test_weights_that_are_a_pickle(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / WEIGHTS
    path.write_bytes(content)
    for dtype, array in (refused(read_pickled, path) or {}).values():
        assert isinstance(dtype, str)
        assert array.nbytes <= len(content)


OPCODES = [code for code in pickletools.opcodes if code.arg is None]


@fuzz(250)
@given(st.lists(st.sampled_from(OPCODES).map(lambda c: c.code.encode("latin1")), max_size=30))
def test_any_opcodes_are_refused(
    tmp_path_factory: pytest.TempPathFactory, opcodes: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / WEIGHTS
    harmful = b"cos\nsystem\n(\x8c\x06exit 1tR" if len(opcodes) % 2 else b""
    path.write_bytes(b"\x80\x05" + b"".join(opcodes) + harmful + b".")
    assert refused(read_pickled, path) is None


@fuzz(60)
@given(
    st.dictionaries(
        texts.map(lambda text: text.encode("utf-8", "replace").decode()),
        st.lists(st.floats(width=32), max_size=5),
        max_size=3,
    )
)
def test_a_pickle_comes_back(
    tmp_path_factory: pytest.TempPathFactory, weights: dict[str, list[float]]
) -> None:
    path = tmp_path_factory.getbasetemp() / WEIGHTS
    arrays = {name: ("float32", np.asarray(row, np.float32)) for name, row in weights.items()}
    write_pickled(path, arrays)
    found = read_pickled(path)
    assert found.keys() == arrays.keys()
    for name, (_, array) in arrays.items():
        np.testing.assert_array_equal(found[name][1], array)


@fuzz(60)
@given(st.data())
def test_a_model_that_numpy_runs(model: Path, data: st.DataObject) -> None:
    put_back(model, "config.json")
    if not (model / WEIGHTS).exists():
        write_pickled(model / WEIGHTS, {"model.embed_tokens.weight": ("float32", np.ones((2, 2)))})
    config = json.loads((BASE / "config.json").read_text())
    (model / "config.json").write_bytes(data.draw(documents(config)))
    loaded = refused(NumpyLlama.load, model)
    assert loaded is None or isinstance(loaded.config, dict)


@fuzz()
@given(st.data())
def test_a_folder_of_prompts(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "prompts"
    folder.mkdir(exist_ok=True)
    ours = shipped_prompts("small").texts["teaching.txt"].encode()
    (folder / "teaching.txt").write_bytes(data.draw(damaged(ours)))
    found = refused(read_prompts, folder)
    assert found is None or found.render("teaching", task="1 + 1?")[-1]["role"] == "user"


@fuzz(60)
@given(st.data())
def test_a_corpus(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "corpus.txt"
    path.write_bytes(data.draw(damaged("One.\n\nTwo é.\n".encode())))
    found = refused(lambda: list(corpus_documents(path)))
    assert found is None or all(isinstance(text, str) for text in found)


def test_the_base_model_itself_is_not_refused(model: Path) -> None:
    check_model(model)
    with pytest.raises(AtlasError):
        check_model(model / "elsewhere")
