from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.tiny_models import byte_level_tokenizer
from tokenizers import AddedToken, Regex, Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from atlas.errors import AtlasError
from atlas.from_scratch.model.gguf_tokenizer import SPLITS, merges, split_name
from atlas.from_scratch.model.tokenizer import EARLIER_WORDS, WORDS, train_tokenizer
from atlas.machine.shipped import model_path
from atlas.models.checkpoints import load_tokenizer

CORPUS = ["Don't say: 1,234 (x); say it again, my child!\n"] * 5
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def gpt_2() -> PreTrainedTokenizerFast:
    return byte_level_tokenizer(SPLITS["gpt-2"], CORPUS)


def changed(**parts: Any) -> PreTrainedTokenizerFast:
    """GPT-2's way with other parts of ``tokenizer.json``."""
    described = json.loads(gpt_2().backend_tokenizer.to_str())
    for name, part in parts.items():
        described[name] = {**described[name], **part} if name == "model" else part
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(described)))


def splits(*steps: Any) -> PreTrainedTokenizerFast:
    return byte_level_tokenizer(pre_tokenizers.Sequence(list(steps)), CORPUS)


def adding(token: AddedToken) -> PreTrainedTokenizerFast:
    tokenizer = gpt_2()
    tokenizer.add_tokens([token])
    return tokenizer


def lacking_a_byte() -> PreTrainedTokenizerFast:
    described = json.loads(gpt_2().backend_tokenizer.to_str())
    vocabulary = described["model"]["vocab"]
    vocabulary["unused"] = vocabulary.pop("Ā")
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(described)))


BOS: Any = {
    "type": "TemplateProcessing",
    "single": [
        {"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [2], "tokens": ["<s>"]}},
}
OFFSETS: Any = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}
METASPACE: Any = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}
NFC: Any = {"type": "NFC"}
NFKC: Any = {"type": "NFKC"}
LOWERCASE: Any = {"type": "Lowercase"}
UNSAID: dict[str, tuple[Callable[[], PreTrainedTokenizerFast], str]] = {
    "digits by three": (
        lambda: splits(pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"), SPLITS["gpt-2"]),
        "pre_tokenizer (Split, ByteLevel) cuts as none of gpt-2, smollm, poro-chat",
    ),
    "digits together": (
        lambda: splits(pre_tokenizers.Digits(individual_digits=False), SPLITS["gpt-2"]),
        "pre_tokenizer (Digits, ByteLevel)",
    ),
    "other words": (
        lambda: splits(pre_tokenizers.Split(Regex(f"{WORDS}+"), "isolated"), BYTES),
        "pre_tokenizer (Split, ByteLevel)",
    ),
    "words joined": (
        lambda: splits(pre_tokenizers.Split(Regex(WORDS), "merged_with_next"), BYTES),
        "pre_tokenizer (Split, ByteLevel)",
    ),
    "a blank put before": (
        lambda: byte_level_tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=True), CORPUS),
        "pre_tokenizer (ByteLevel)",
    ),
    "no split": (lambda: changed(pre_tokenizer=None), "pre_tokenizer (none)"),
    "metaspace": (lambda: changed(pre_tokenizer=METASPACE), "pre_tokenizer (Metaspace)"),
    "metaspace decoded": (lambda: changed(decoder=METASPACE), "are no byte-level BPE"),
    "NFC": (lambda: changed(normalizer=NFC), "normalizer (NFC) changes texts"),
    "NFKC, small letters": (
        lambda: changed(
            normalizer={
                "type": "Sequence",
                "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}],
            }
        ),
        "normalizer (NFKC, Lowercase)",
    ),
    "BOS": (lambda: changed(post_processor=BOS), "post_processor (TemplateProcessing) adds tokens"),
    "BOS after offsets": (
        lambda: changed(post_processor={"type": "Sequence", "processors": [OFFSETS, BOS]}),
        "post_processor (TemplateProcessing) adds tokens",
    ),
    "byte_fallback": (lambda: changed(model={"byte_fallback": True}), "has byte_fallback = true"),
    "ignore_merges": (lambda: changed(model={"ignore_merges": True}), "has ignore_merges = true"),
    "dropout": (lambda: changed(model={"dropout": 0.1}), "has dropout = 0.1"),
    "no merges": (lambda: changed(model={"merges": []}), "model has no merges"),
    "a byte less": (lacking_a_byte, "vocabulary lacks 1 of the 256 bytes"),
    "a blank eaten": (
        lambda: adding(AddedToken("<think>", lstrip=True)),
        "added token '<think>' has the flag lstrip",
    ),
    "whole words": (
        lambda: adding(AddedToken("<think>", single_word=True)),
        "added token '<think>' has the flag single_word",
    ),
    "overlapping": (lambda: adding(AddedToken(">>x")), "'<|pad|>' and '>>x' overlap"),
}


@pytest.mark.parametrize("name", list(UNSAID))
def test_what_gguf_has_no_words_for_is_refused_by_name(name: str) -> None:
    make, part = UNSAID[name]
    with pytest.raises(AtlasError) as caught:
        split_name(make())
    assert part in str(caught.value)
    assert str(caught.value).startswith("the tokenizer can't be said in GGUF: its ")
    assert str(caught.value).endswith("; export it with --format safetensors")


@pytest.mark.parametrize("name", ["gpt-2", "smollm"])
def test_an_equal_split_has_its_name(name: str) -> None:
    assert split_name(byte_level_tokenizer(SPLITS[name], CORPUS, bos="<s>")) == name


def test_offsets_and_added_tokens_change_nothing() -> None:
    assert split_name(changed(post_processor=OFFSETS)) == "gpt-2"
    assert split_name(adding(AddedToken("<think>", special=False))) == "gpt-2"


def test_guide_a_tokenizers_have_a_name() -> None:
    assert split_name(load_tokenizer(model_path("base"))) == "poro-chat"
    assert split_name(train_tokenizer(CORPUS, vocab_size=330)) == "poro-chat"
    assert merges(train_tokenizer(["ab ab"], vocab_size=262))[0] == ("a", "b")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (WORDS, ["Ã ©", "a Ã©", "Ġ a", "Ġ Ð"]),  # all that begins with 0xD0 is a letter
        (EARLIER_WORDS, ["a b", "Ã ©", "Ġ Ã©", "Ġ Ð"]),
    ],
)
def test_a_merge_within_a_word_is_kept(words: str, found: list[str]) -> None:
    assert name_with_merges(words, found) == "poro-chat"


@pytest.mark.parametrize(
    ("words", "found", "entry"),
    [
        (WORDS, ["Ġ Ġ"], "b'  '"),
        (WORDS, ["a 1"], "b'a1'"),
        (WORDS, [". Ċ"], r"b'.\n'"),
        (WORDS, ["a Ã"], r"b'a\xc3'"),  # as in "a×", where what follows is no letter
        (WORDS, ["Ġ â"], r"b' \xe2'"),  # as in a blank before another kind of blank
        (WORDS, ["¡ a"], r"b'\xa1a'"),  # as in "¡a"
        (EARLIER_WORDS, ["Ã ©", "a Ã©"], r"b'a\xc3\xa9'"),
    ],
)
def test_a_merge_across_words_is_refused(words: str, found: list[str], entry: str) -> None:
    with pytest.raises(AtlasError) as caught:
        name_with_merges(words, found)
    assert f"its vocabulary has the entry {entry}, which merges across words" in str(caught.value)


def name_with_merges(words: str, found: list[str]) -> str:
    """The name of the split of a tokenizer with these merges, as ``tokenizer.json`` spells them."""
    split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(words), "isolated"), BYTES])
    described = json.loads(byte_level_tokenizer(split, []).backend_tokenizer.to_str())
    vocabulary = described["model"]["vocab"]
    for pair in found:
        vocabulary[pair.replace(" ", "")] = len(vocabulary)
    described["model"]["merges"] = found
    made = Tokenizer.from_str(json.dumps(described))
    return split_name(PreTrainedTokenizerFast(tokenizer_object=made))


def test_a_named_split_gives_equal_tokens() -> None:
    """The coarser split that stands for guide A's, on random texts."""
    tokenizer = train_tokenizer(CORPUS, vocab_size=330)
    other: Any = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    other.pre_tokenizer = SPLITS[split_name(tokenizer)]
    rng = random.Random(0)
    parts = [*"Don't 1é\u0301дт×½|().,…\n\u00a0\u2003", "  ", " na", "'re", "<|end|>"]
    for _ in range(3000):
        text = "".join(rng.choices(parts, k=8))
        assert other.encode(text).ids == tokenizer.encode(text), text
