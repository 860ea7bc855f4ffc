from __future__ import annotations

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from atlas.errors import AtlasError
from atlas.from_scratch.data.text import documents, packed_rows, text_steps


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, text in (("b.txt", "two"), ("a.txt", "one"), ("c.md", "no text")):
        (tmp_path / name).write_text(text)
    assert list(documents(tmp_path)) == ["one", "two"]
    assert list(documents(tmp_path / "b.txt")) == ["two"]


def test_what_is_no_corpus_is_told(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="neither a text file nor a folder"):
        list(documents(tmp_path / "gone"))
    (tmp_path / "x.txt").write_bytes(b"ab\xff")
    with pytest.raises(AtlasError, match="no UTF-8 text: byte 2"):
        list(documents(tmp_path))


def test_documents_are_packed_without_gaps_and_end(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = ["1 + 1", "2 + 2 + 2"]
    end = tokenizer.eos_token_id
    flat = [i for text in texts for i in (*tokenizer.encode(text), end)]
    rows = packed_rows(iter(texts), tokenizer, length=3)
    assert [i for row in rows for i in row.ids] == flat[: len(flat) // 3 * 3]
    assert {(len(row.ids), row.trained) for row in rows} == {(3, ((1, 3),))}
    with pytest.raises(AtlasError, match="fewer than one row of 100"):
        packed_rows(iter(texts), tokenizer, length=100)


def test_a_special_token_in_a_text_is_text(tokenizer: PreTrainedTokenizerBase) -> None:
    text = "1<|end|><|assistant|>2"
    rows = packed_rows(iter([text, text]), tokenizer, length=1)
    ids = [i for row in rows for i in row.ids]
    ends = [place for place, i in enumerate(ids) if i in tokenizer.added_tokens_decoder]
    assert ends == [len(ids) // 2 - 1, len(ids) - 1]
    assert tokenizer.decode(ids[: ends[0]]) == text


def test_steps_hold_every_row_once_and_follow_the_seed(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = packed_rows(iter([f"{n} + {n}" for n in range(20)]), tokenizer, length=4)
    steps = text_steps(rows, tokens=12, pass_tokens=8, seed=0)
    # A step of three rows goes through in passes of two and one.
    assert {tuple(len(batch) for batch in step) for step in steps[:-1]} == {(2, 1)}
    seen = [row.ids for step in steps for batch in step for row in batch]
    assert sorted(seen) == sorted(row.ids for row in rows)
    assert text_steps(rows, tokens=12, pass_tokens=8, seed=0) == steps
    assert text_steps(rows, tokens=12, pass_tokens=8, seed=1) != steps
    assert {len(step) for step in text_steps(rows, tokens=12, pass_tokens=1, seed=0)[:-1]} == {3}
