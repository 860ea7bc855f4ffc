from __future__ import annotations

import errno
import os
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.tiny_models import byte_level_tokenizer
from tokenizers import Regex, normalizers, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from atlas.errors import AtlasError
from atlas.from_scratch.model import exporting, gguf_file
from atlas.from_scratch.model.exporting import FORMATS, export_model, load_any
from atlas.from_scratch.model.folder import save_model_folder
from atlas.from_scratch.model.gguf_tokenizer import SPLITS
from atlas.from_scratch.model.numpy_llama import NumpyLlama
from atlas.from_scratch.model.pickled import FORMAT
from atlas.from_scratch.model.tokenizer import train_tokenizer
from atlas.machine.shipped import SHIPPED
from atlas.models.checkpoints import copy_model, load_model, save_model
from atlas.models.manifest import is_whole
from atlas.prompts.folder import shipped_prompts

IDS = torch.arange(5, 25).unsqueeze(0)


@pytest.fixture
def source(tmp_path: Path, model: PreTrainedModel, tokenizer: Tokenizer) -> Path:
    """A model as guide A saves it."""
    save_model(tmp_path / "final", model, tokenizer)
    save_model_folder(tmp_path / "final", tmp_path / "source", {})
    return tmp_path / "source"


def wide(model: Any) -> Any:
    return model if model.dtype == torch.float32 else model.float()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_is_the_same_model(
    tmp_path: Path, model: PreTrainedModel, tokenizer: Tokenizer, name: str, dtype: torch.dtype
) -> None:
    cast: Any = model.to
    save_model(tmp_path / "source", cast(dtype), tokenizer)
    exported = export_model(tmp_path / "source", tmp_path / "out", name)
    assert exported.num_bytes > 4000
    assert exported.largest_difference <= 1e-6
    again, said = FORMATS[name].load(tmp_path / "out")
    made, expected = (logits(wide(m)) for m in (again, load_model(tmp_path / "source")))
    assert torch.allclose(made, expected, atol=1e-6)
    assert said.encode("Calculate 1 + 2.") == tokenizer.encode("Calculate 1 + 2.")


def test_stock_tools_load_what_was_written(source: Path, tmp_path: Path) -> None:
    export_model(source, tmp_path / "a", "safetensors")
    export_model(source, tmp_path / "b", "pkl")
    export_model(source, tmp_path / "c.gguf", "gguf")
    expected = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "a"))
    run = NumpyLlama.load(tmp_path / "b").logits(IDS[0].tolist())
    assert torch.allclose(torch.from_numpy(run), expected[0], atol=1e-4)
    gguf: Any = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="c.gguf")
    assert torch.allclose(logits(gguf), expected, atol=1e-6)
    assert gguf.config.tie_word_embeddings
    words = AutoTokenizer.from_pretrained(tmp_path, gguf_file="c.gguf")
    assert words.apply_chat_template([{"role": "user", "content": "1"}], tokenize=False)


def test_a_folder_with_a_pickle_alone_is_read(source: Path) -> None:
    expected = logits(load_any(source)[0])
    (source / "model.safetensors").unlink()
    assert torch.equal(logits(load_any(source)[0]), expected)


class Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch attacked",)


def test_a_pickle_with_code_is_refused_and_not_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("model.safetensors", "manifest.json"):
        (source / name).unlink()
    document = {"format": FORMAT, "dtypes": {}, "tensors": {"a": Attack()}}
    (source / "model_weights.pkl").write_bytes(pickle.dumps(document))
    with pytest.raises(AtlasError, match=r"was refused: it names posix\.system"):
        export_model(source, tmp_path / "out", "safetensors")
    assert not (tmp_path / "attacked").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", list(FORMATS))
def test_what_does_not_prove_equal_is_removed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    right = FORMATS[name]

    def with_another_weight(loaded: Any, output: Path) -> None:
        model, tokenizer = loaded
        weight = model.model.layers[1].self_attn.q_proj.weight
        before = weight.detach().clone()
        weight.data = weight.roll(1, 0)
        right.write((model, tokenizer), output)
        weight.data = before

    broken = exporting.Format(write=with_another_weight, load=right.load)
    monkeypatch.setattr(exporting, "FORMATS", {name: broken})
    with pytest.raises(AtlasError, match=r"its logits differ by .*; nothing was kept"):
        export_model(source, tmp_path / "out", name)
    assert not (tmp_path / "out").exists()


def saved(folder: Path, model: Any, tokenizer: Tokenizer) -> Path:
    """The model with another tokenizer."""
    model.resize_token_embeddings(len(tokenizer))
    model.config.eos_token_id = tokenizer.eos_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    save_model(folder, model, tokenizer)
    return folder


def test_a_tokenizer_that_gguf_cannot_say_is_refused(
    tmp_path: Path, model: PreTrainedModel
) -> None:
    """A piece of a letter that merges with the one before may be read into other texts."""
    indic = train_tokenizer(["हिन्दी"] * 3, vocab_size=275)
    source = saved(tmp_path / "source", model, indic)
    with pytest.raises(AtlasError, match=r"can't be said in GGUF: its vocabulary has the entry b'"):
        export_model(source, tmp_path / "out", "gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    export_model(source, tmp_path / "out", "safetensors")


def test_a_template_that_begins_with_bos_is_exported_whole(
    tmp_path: Path, model: PreTrainedModel
) -> None:
    tokenizer = byte_level_tokenizer(SPLITS["gpt-2"], ["say it"] * 3, bos="<s>")
    export_model(saved(tmp_path / "source", model, tokenizer), tmp_path / "out.gguf", "gguf")
    load: Any = AutoTokenizer.from_pretrained
    chat = [{"role": "user", "content": "it"}]
    prompt = load(tmp_path, gguf_file="out.gguf").apply_chat_template(chat, tokenize=False)
    assert prompt == "<s><|user|>it<|end|>"


RNG = random.Random(0)
NUMBERS = [str(RNG.randrange(10**8))[: 1 + n % 8] for n in range(400)]
OTHER_SPLITS = {
    "'1234567": [pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"), SPLITS["gpt-2"]],
    "\"12 .*isn't": [SPLITS["poro-chat"]],
    '"12 .*So': [pre_tokenizers.Split("  ", "isolated"), SPLITS["gpt-2"]],
    "'Calculate": [pre_tokenizers.ByteLevel(add_prefix_space=True)],
}
"""The text of the proof that shows it -> how a tokenizer splits that is taken for GPT-2's."""


@pytest.mark.parametrize("said", list(OTHER_SPLITS))
def test_the_texts_of_the_proof_show_another_split(
    tmp_path: Path, model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(gguf_file, "split_name", lambda tokenizer: "gpt-2")
    corpus = [*exporting.PROOF_TEXTS * 3, *NUMBERS]
    tokenizer = byte_level_tokenizer(pre_tokenizers.Sequence(OTHER_SPLITS[said]), corpus)
    source = saved(tmp_path / "source", model, tokenizer)
    with pytest.raises(AtlasError, match=f"its tokenizer cuts {said}"):
        export_model(source, tmp_path / "out", "gguf")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("normalizer", ["NFC", "NFKC"])
def test_the_texts_of_the_proof_show_what_adds_and_what_changes_letters(
    tmp_path: Path, model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch, normalizer: str
) -> None:
    monkeypatch.setattr(gguf_file, "split_name", lambda tokenizer: "gpt-2")
    tokenizer = byte_level_tokenizer(SPLITS["gpt-2"], ["a b"] * 2)
    tokenizer.backend_tokenizer.normalizer = getattr(normalizers, normalizer)()
    source = saved(tmp_path / "source", model, tokenizer)
    with pytest.raises(AtlasError, match=r"its tokenizer cuts '.*; nothing was kept"):
        export_model(source, tmp_path / "out", "gguf")


def test_the_proof_shows_a_token_put_before_each_text(
    tmp_path: Path, model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_file, "split_name", lambda tokenizer: "gpt-2")
    tokenizer = byte_level_tokenizer(SPLITS["gpt-2"], ["a b"] * 2, bos="<s>")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 2)]
    )
    source = saved(tmp_path / "source", model, tokenizer)
    with pytest.raises(AtlasError, match="its tokenizer cuts 'Calculate 2"):
        export_model(source, tmp_path / "out", "gguf")


def test_the_proof_shows_another_prompt(
    tmp_path: Path, model: PreTrainedModel, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved(tmp_path / "source", model, tokenizer)

    def with_another_template(output: Path) -> Any:
        model, words = exporting._load_folder(output)
        words.chat_template = "Hello. " + words.chat_template
        return model, words

    other = exporting.Format(write=FORMATS["safetensors"].write, load=with_another_template)
    monkeypatch.setattr(exporting, "FORMATS", {"safetensors": other})
    with pytest.raises(AtlasError, match="its chat template makes other prompts"):
        export_model(source, tmp_path / "out", "safetensors")
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_and_a_taken_place_are_told(source: Path, tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="--format is onnx; it must be one of safetensors, pkl"):
        export_model(source, tmp_path / "out", "onnx")
    with pytest.raises(AtlasError, match=r"is there; name a new place with --output"):
        export_model(source, source, "pkl")


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("nosuch", "empty"):
        with pytest.raises(AtlasError, match=f"no model can be loaded from '.*{name}': ") as caught:
            export_model(tmp_path / name, tmp_path / "out", "pkl")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("place", ["/proc/nosuch/out", "{source}/config.json/out"])
def test_a_place_that_cannot_be_written_is_told(source: Path, name: str, place: str) -> None:
    output = Path(place.format(source=source))
    with pytest.raises(AtlasError, match=f"{output} can't be written: "):
        export_model(source, output, name)


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_disk_that_fills_up_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AtlasError, match="the disk is full"):
        export_model(source, tmp_path / "out", name)
    assert not (tmp_path / "out").exists()


def test_prompts_go_along(tmp_path: Path) -> None:
    prompts = shipped_prompts("chat").files()
    copy_model(Path(SHIPPED["base"]), tmp_path / "model", extra=prompts)
    export_model(tmp_path / "model", tmp_path / "exported", "safetensors")
    found = {path: (tmp_path / "exported" / path).read_text(encoding="utf-8") for path in prompts}
    assert found == prompts
    assert is_whole(tmp_path / "exported")
