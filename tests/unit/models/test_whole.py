"""A model folder broken in some hundred ways: one line that names it, or a correct model."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.unit.tiny_models import adapted_model, tiny_model, tiny_tokenizer
from transformers import PreTrainedModel

from atlas.errors import AtlasError
from atlas.models.checkpoints import check_model, load_model, load_tokenizer, save_model
from atlas.models.lora import save_adapter

IDS = torch.tensor([[5, 6, 7, 8]])
UP = "model.layers.1.mlp.up_proj.weight"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
Break = Callable[[Path], object]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "good"
    save_model(folder, tiny_model(vocab_size=len(tiny_tokenizer())), tiny_tokenizer())
    (folder / "manifest.json").unlink()
    (folder / "special_tokens_map.json").write_text('{"pad_token": "<|pad|>"}')
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "broken"))


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def refused(folder: Path) -> str:
    """Return the line that a folder is refused with, by both that look at it."""

    def load() -> None:
        load_tokenizer(folder)
        load_model(folder)

    with pytest.raises(AtlasError) as told:
        load()
    assert folder.name in str(told.value)
    assert "\n" not in str(told.value)
    return str(told.value)


def values(file: str, **changed: object) -> Break:
    def change(folder: Path) -> None:
        found = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(found | changed))

    return change


def tensors(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Break:
    def write(folder: Path) -> None:
        file = folder / "model.safetensors"
        save_file(change(load_file(file)), file, {"format": "pt"})

    return write


def bytes_of(change: Callable[[bytes], bytes]) -> Break:
    def write(folder: Path) -> None:
        file = folder / "model.safetensors"
        file.write_bytes(change(file.read_bytes()))

    return write


def header(**lies: object) -> Break:
    def change(data: bytes) -> bytes:
        length = struct.unpack("<Q", data[:8])[0]
        says = json.loads(data[8 : 8 + length])
        says[UP] |= lies
        text = json.dumps(says).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return bytes_of(change)


def pickled(make: Callable[[dict[str, Any]], object]) -> Break:
    def write(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        made = make(weights)
        if isinstance(made, bytes):
            (folder / "pytorch_model.bin").write_bytes(made)
        else:
            torch.save(made, folder / "pytorch_model.bin")

    return write


def indexed(change: Callable[[dict[str, Any], Path], object]) -> Break:
    def write(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        places = {name: SHARDS[i % 2] for i, name in enumerate(weights)}
        for shard in SHARDS:
            mine = {name: weights[name] for name in weights if places[name] == shard}
            save_file(mine, folder / shard, {"format": "pt"})
        index = {"metadata": {"total_size": 1}, "weight_map": places}
        change(index, folder)
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return write


class Code:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, ("code_was_run",)


def packed(*parts: str) -> Break:
    """Break a model as a quantiser does: its projections under other names, of whole numbers."""

    def change(weights: dict[str, Any]) -> dict[str, Any]:
        names = [name for name in weights if name.endswith("_proj.weight")]
        rest = {name: tensor for name, tensor in weights.items() if name not in names}
        return rest | {
            f"{name.removesuffix('weight')}{part}": torch.zeros(4, 4, dtype=torch.int32)
            for name in names
            for part in parts
        }

    return tensors(change)


CONFIG, TOKENIZER, SETTINGS, GENERATION = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
)
NOT_WHOLE = r"isn't whole: "
BROKEN: dict[str, tuple[Break, str]] = {
    # Tensors
    "one gone": (
        tensors(lambda t: {n: w for n, w in t.items() if n != UP}),
        rf"{NOT_WHOLE}config\.json asks for {UP}, which its files lack; copy",
    ),
    "a layer gone": (
        tensors(lambda t: {n: w for n, w in t.items() if ".1." not in n}),
        r"asks for model\.layers\.1\..* \(and 8 more\)",
    ),
    "all gone": (tensors(lambda t: {}), NOT_WHOLE),
    "one misnamed": (tensors(lambda t: t | {f"x.{UP}": t.pop(UP)}), f"asks for {UP}"),
    "all misnamed": (tensors(lambda t: {f"base_model.{n}": w for n, w in t.items()}), NOT_WHOLE),
    "one more": (
        tensors(lambda t: t | {"model.more.weight": torch.zeros(2)}),
        r"hold model\.more\.weight, for which config\.json has no place",
    ),
    "turned": (
        tensors(lambda t: t | {UP: t[UP].T.contiguous()}),
        rf"{UP} is \[32, 48\] in its file, and config\.json asks for \[48, 32\]",
    ),
    "cut": (tensors(lambda t: t | {UP: t[UP][:-1].clone()}), r"is \[47, 32\]"),
    "one number": (tensors(lambda t: t | {UP: torch.tensor(1.0)}), r"is \[\] in"),
    "bytes": (tensors(lambda t: t | {UP: t[UP].to(torch.int8)}), f"{UP} is stored as I8"),
    "complex": (tensors(lambda t: t | {UP: t[UP].to(torch.complex64)}), "stored as C64"),
    "no numbers": (tensors(lambda t: t | {UP: t[UP] * torch.nan}), "tells no token from"),
    "GPTQ": (packed("qweight", "qzeros", "scales", "g_idx"), NOT_WHOLE),
    "bitsandbytes": (packed("weight", "weight.absmax"), "is stored as I32"),
    "compressed-tensors": (packed("weight_packed", "weight_scale", "weight_shape"), NOT_WHOLE),
    # A safetensors file
    "no bytes": (bytes_of(lambda b: b""), "header too small"),
    "half a file": (bytes_of(lambda b: b[: len(b) // 2]), "not fully covered"),
    "a byte less": (bytes_of(lambda b: b[:-1]), "not fully covered"),
    "a byte more": (bytes_of(lambda b: b + b"x"), "not fully covered"),
    "a header without end": (bytes_of(lambda b: struct.pack("<Q", 2**60) + b[8:]), "too large"),
    "a pointer of git": (bytes_of(lambda b: b"version https://git-lfs.github.com"), "Safetensor"),
    "another type": (header(dtype="I32"), "is stored as I32"),
    "a shorter type": (header(dtype="F16"), "invalid shape, data type, or offset"),
    "an unknown type": (header(dtype="Q4"), "unknown variant"),
    "another shape": (header(shape=[1, 1]), "invalid shape"),
    "a negative shape": (header(shape=[-1, 2]), "integer `-1`"),
    "an offset far away": (header(data_offsets=[0, 10**15]), "invalid offset"),
    # A pickle
    "code": (pickled(lambda t: {"a": Code()}), r"pytorch_model\.bin is damaged, or holds more"),
    "bare code": (pickled(lambda t: pickle.dumps(Code())), "it isn't run"),
    "no pickle": (pickled(lambda t: b"PK\3\4 and so on"), r"pytorch_model\.bin is damaged"),
    "an empty pickle": (pickled(lambda t: b""), r"pytorch_model\.bin is damaged"),
    "a pickled list": (pickled(lambda t: [1]), "more than tensors by name"),
    "one level down": (pickled(lambda t: {"state_dict": t, "epoch": 1}), "more than tensors by"),
    "ids as names": (pickled(lambda t: {1: 2}), "more than tensors by name"),
    "pickled bytes": (pickled(lambda t: t | {UP: t[UP].to(torch.int8)}), "is stored as I"),
    "one gone of a pickle": (pickled(lambda t: {n: w for n, w in t.items() if n != UP}), UP),
    # An index
    "no weight_map": (indexed(lambda i, f: i.pop("weight_map")), "lacks weight_map or metadata"),
    "no metadata": (indexed(lambda i, f: i.pop("metadata")), "lacks weight_map or metadata"),
    "metadata as text": (indexed(lambda i, f: i.update(metadata="x")), "lacks weight_map or"),
    "no shards": (indexed(lambda i, f: i.update(weight_map={})), "lacks weight_map or"),
    "a shard gone": (indexed(lambda i, f: (f / SHARDS[1]).unlink()), f"{SHARDS[1]} is missing"),
    "a shard elsewhere": (
        indexed(lambda i, f: i["weight_map"].update(a="../../../etc/passwd")),
        "no file beside it",
    ),
    "a shard that is a number": (indexed(lambda i, f: i["weight_map"].update(a=5)), "names 5"),
    # Values
    "1,000 layers": (values(CONFIG, num_hidden_layers=1000), "says 1,000 layers, and there are 20"),
    "a billion layers": (values(CONFIG, num_hidden_layers=10**9), "says 1,000,000,000 layers"),
    "three layers": (values(CONFIG, num_hidden_layers=3), r"asks for model\.layers\.2\."),
    "one layer": (values(CONFIG, num_hidden_layers=1), r"hold model\.layers\.1\."),
    "no layer": (values(CONFIG, num_hidden_layers=0), r"hold model\.layers\.0\."),
    "layers as text": (values(CONFIG, num_hidden_layers="2"), "num_hidden_layers"),
    "a huge vocabulary": (values(CONFIG, vocab_size=10**11), r"asks for \[100000000000, 32\]"),
    "a vocabulary of five": (values(CONFIG, vocab_size=5), "a token .* of id 293, and the model 5"),
    "a negative vocabulary": (values(CONFIG, vocab_size=-1), "and the model -1"),
    "a huge width": (values(CONFIG, hidden_size=10**8), NOT_WHOLE),
    "no heads": (values(CONFIG, num_attention_heads=0), "modulo by zero"),
    "three heads": (values(CONFIG, num_attention_heads=3), "hidden size"),
    "an untied head": (values(CONFIG, tie_word_embeddings=False), r"asks for lm_head\.weight"),
    "no such model": (values(CONFIG, model_type="nope"), "model type `nope`"),
    "another model": (values(CONFIG, model_type="qwen3"), r"asks for .*k_norm\.weight"),
    "no causal model": (values(CONFIG, model_type="t5"), "Unrecognized configuration"),
    "no such activation": (values(CONFIG, hidden_act="nope"), "nope"),
    "no such type": (values(CONFIG, dtype="nope"), "nope"),
    "no such rotation": (values(CONFIG, rope_parameters={"rope_type": "nope"}), "nope"),
    "a rotation as text": (values(CONFIG, rope_parameters={"rope_theta": "x"}), "model"),
    "a negative rotation": (values(CONFIG, rope_parameters={"rope_theta": -1.0}), "tells no"),
    "a norm of NaN": (values(CONFIG, rms_norm_eps=float("nan")), "NaN is no JSON"),
    "an end as text": (values(CONFIG, eos_token_id="x"), "eos_token_id"),
    "attention from the hub": (values(CONFIG, attn_implementation="a/b"), "code of a/b"),
    "code beside it": (
        values(CONFIG, model_type="own", auto_map={"AutoConfig": "own.Config"}),
        "custom code",
    ),
    "GPTQ, as it says": (
        values(CONFIG, quantization_config={"quant_method": "gptq", "bits": 4}),
        r"is quantised \(quantization_config of config\.json: gptq\).*name the model that it was",
    ),
    "of an unknown kind": (values(CONFIG, quantization_config={"quant_method": "new"}), "new"),
    "MLX, as it says": (values(CONFIG, quantization={"bits": 4, "group_size": 64}), "4 bits"),
    "an end of generation": (values(GENERATION, eos_token_id="x"), "eos_token_id of generation"),
    "a temperature": (values(GENERATION, temperature="hot"), "temperature of generation_config"),
    "a token without a row": (
        values(SETTINGS, eos_token="<|note|>"),
        r"has a token '<\|note\|>' of id 294, and the model 294 rows",
    ),
    "a token as number": (values(SETTINGS, eos_token=5), "tokenizer"),
    "no such side": (values(SETTINGS, padding_side="up"), "tokenizer"),
    "tokens by number": (values(SETTINGS, added_tokens_decoder={"x": 1}), "tokenizer"),
    "no such tokens": (values(TOKENIZER, added_tokens=[{"id": 1}]), "missing field"),
    "no tokens": (values(TOKENIZER, model={"type": "BPE", "vocab": [], "merges": []}), "token"),
    "no decoder": (values(TOKENIZER, decoder=None), "doesn't give a text back"),
    "an unknown normaliser": (values(TOKENIZER, normalizer={"type": "New"}), "Normalizer"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no file named"),
    "no config": (lambda f: (f / CONFIG).unlink(), "model"),
}


@pytest.mark.parametrize("way", BROKEN)
def test_a_broken_model_is_told_in_one_line(
    folder: Path, way: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder.parent)
    change, message = BROKEN[way]
    change(folder)
    line = refused(folder)
    assert re.search(message, line), line
    assert not Path("code_was_run").exists()
    assert capfd.readouterr().err == ""


RAW = ["[1]", "null", "5", "", '{"a": ', "[" * 100_000, "\udcff"]


@pytest.mark.parametrize("raw", RAW)
@pytest.mark.parametrize(
    "file", [CONFIG, TOKENIZER, SETTINGS, GENERATION, "special_tokens_map.json"]
)
def test_a_file_that_is_no_object_is_told_by_its_name(folder: Path, file: str, raw: str) -> None:
    (folder / file).write_text(raw, errors="surrogateescape")
    assert file in refused(folder)
    (folder / file).unlink()
    (folder / file).mkdir()
    assert file in refused(folder)


WHOLE: dict[str, Break] = {
    "as it was saved": lambda folder: None,
    "in two files": indexed(lambda index, folder: None),
    "as a pickle": pickled(lambda weights: weights),
    "without its prefix": tensors(lambda t: {n.removeprefix("model."): w for n, w in t.items()}),
    "its tied head twice": tensors(
        lambda t: t | {"lm_head.weight": t["model.embed_tokens.weight"].clone()}
    ),
    "without the settings of generation": lambda folder: (folder / GENERATION).unlink(),
    "of an unknown architecture": values(CONFIG, architectures=["New"]),
    "with code that isn't needed": values(CONFIG, auto_map={"AutoConfig": "own.Config"}),
}


@pytest.mark.parametrize("way", WHOLE)
def test_a_whole_model_is_loaded_however_it_lies(good: Path, folder: Path, way: str) -> None:
    WHOLE[way](folder)
    check_model(folder)
    assert torch.equal(logits(load_model(folder)), logits(load_model(good)))


def test_a_flipped_bit_is_found_wherever_the_folder_has_a_manifest(tmp_path: Path) -> None:
    save_model(tmp_path / "m", tiny_model(vocab_size=len(tiny_tokenizer())), tiny_tokenizer())
    check_model(tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert "model.safetensors has changed since manifest.json" in refused(tmp_path / "m")


def test_the_checks_change_no_random_number(good: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load_model(good)
    assert torch.equal(torch.rand(3), expected)


@pytest.fixture
def adapter(good: Path, tmp_path: Path) -> Path:
    """An adapter's folder, as peft saves it: without a tokenizer, with the name of its base."""
    model: Any = adapted_model(vocab_size=len(tiny_tokenizer()))
    model.peft_config["default"].base_model_name_or_path = str(good)
    save_adapter(model, tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_adapter_is_loaded_on_its_base_and_merged(good: Path, adapter: Path) -> None:
    check_model(adapter)
    found = load_model(adapter)
    expected = logits(adapted_model(vocab_size=len(tiny_tokenizer())))
    torch.testing.assert_close(logits(found), expected, rtol=0, atol=2e-5)
    assert not torch.allclose(logits(found), logits(load_model(good)), atol=0.1)
    assert all(p.requires_grad for p in found.parameters())
    assert found.state_dict().keys() == load_model(good).state_dict().keys()
    assert load_tokenizer(adapter).get_vocab() == tiny_tokenizer().get_vocab()


ODD_ADAPTERS: dict[str, tuple[dict[str, object], str]] = {
    "a base that is gone": ({"base_model_name_or_path": "nowhere"}, "base can't be: .*'nowhere'"),
    "no base": ({"base_model_name_or_path": None}, "doesn't say base_model_name_or_path"),
    "another kind": ({"peft_type": "IA3"}, "peft_type is 'IA3'; only LORA"),
    "another rank": ({"r": 5}, "adapter"),
    "other layers": ({"target_modules": ["q_proj"]}, "isn't whole, or of another model"),
    "more layers": ({"target_modules": ["q_proj", "nope"]}, "isn't whole, or of another model"),
    "layers as number": ({"target_modules": 5}, "adapter"),
}


@pytest.mark.parametrize("way", ODD_ADAPTERS)
def test_an_adapter_that_does_not_fit_is_told_in_one_line(adapter: Path, way: str) -> None:
    changed, message = ODD_ADAPTERS[way]
    values("adapter_config.json", **changed)(adapter)
    with pytest.raises(AtlasError, match=rf"^[^\n]*{message}[^\n]*$"):
        load_model(adapter)


def test_an_adapter_of_an_adapter_is_refused(adapter: Path) -> None:
    values("adapter_config.json", base_model_name_or_path=str(adapter))(adapter)
    with pytest.raises(AtlasError, match="is an adapter itself; merge that one first"):
        load_model(adapter)


def test_an_adapter_that_lacks_tensors_is_refused(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    weights = load_file(file)
    weights.pop(next(iter(weights)))
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(AtlasError, match=r"isn't whole.*asked for by adapter_config\.json only"):
        load_model(adapter)
