from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.tiny_models import tiny_tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from atlas.from_scratch.model.tokenizer import train_tokenizer

SPECIALS = ("<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>")


def tokens(text: str, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    return [token.replace("\u0120", "_") for token in tokenizer.tokenize(text)]


@given(st.text())
def test_any_text_comes_back_as_it_was(text: str) -> None:
    ids = tiny_tokenizer().encode(text, add_special_tokens=False)
    assert tiny_tokenizer().decode(ids) == text


@pytest.mark.parametrize(
    "text", ["Größe: 3 µm — 日本語 🙂\n\t  x", " 12 ", "a  .b ,c ' s", "\x00\r\n"]
)
def test_some_texts_that_cleaning_would_spoil(text: str) -> None:
    assert tiny_tokenizer().decode(tiny_tokenizer().encode(text)) == text


def test_every_digit_is_a_token_of_its_own() -> None:
    """With the blank before it, though 11 is the most frequent pair of the corpus."""
    tokenizer = train_tokenizer(["11 = 11 + 11. 11"] * 50, vocab_size=300)
    assert tokens("11 + 1234 = 1", tokenizer) == [
        *("1", "1", "_+", "_1", "2", "3", "4", "_=", "_1")
    ]


def test_merges_never_cross_a_word() -> None:
    """The corpus holds nothing but "Take your time.", so that BPE would merge all of it."""
    tokenizer = train_tokenizer(["Take your time."] * 50, vocab_size=300)
    assert tokens("Take your time.", tokenizer) == ["Take", "_your", "_time", "."]


def test_special_tokens() -> None:
    tokenizer = tiny_tokenizer()
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|end|>", "<|pad|>")
    assert [tokenizer.encode(token) for token in SPECIALS] == [[1], [0], [2], [3], [4]]
    ids = tokenizer.encode("1<|end|>")
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == "1"


def test_the_chat_template() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1 + 2?"},
        {"role": "assistant", "content": "3"},
    ]
    text = tiny_tokenizer().apply_chat_template(messages, tokenize=False)
    assert text == "<|system|>Be brief.<|end|><|user|>1 + 2?<|end|><|assistant|>3<|end|>"
    opened = tiny_tokenizer().apply_chat_template(
        messages[1:2], tokenize=False, add_generation_prompt=True
    )
    assert opened == "<|user|>1 + 2?<|end|><|assistant|>"


def test_equal_texts_give_equal_tokenizers_that_stock_transformers_loads(tmp_path: Path) -> None:
    texts = ["Calculate 1 + 2 * 3.", "Answer: 7"]
    first, again = (train_tokenizer(texts, vocab_size=270) for _ in range(2))
    assert first.get_vocab() == again.get_vocab()
    assert len(first) == 270
    first.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "<|user|>Calculate 12 é.<|end|>"
    assert loaded.encode(text) == first.encode(text)
    assert loaded.decode(loaded.encode(text)) == text
    assert loaded.chat_template == first.chat_template


@pytest.mark.parametrize("word", ["größe", "данные", "हिन्दी", "naïve"])
def test_letters_of_any_script_are_merged_with_their_marks(word: str) -> None:
    tokenizer = train_tokenizer([f"a {word} b"] * 20, vocab_size=330)
    assert tokenizer.tokenize(f" {word}") == tokenizer.tokenize(f"x {word}")[1:]
    assert len(tokenizer.tokenize(f" {word}")) == 1
    assert tokenizer.decode(tokenizer.encode(f"{word} {word}.")) == f"{word} {word}."
