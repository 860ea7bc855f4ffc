"""Any text to rows for pre-training: read, tokenised, packed without gaps.

Input: a text file or a folder of them. Output: `Tokens` of equal length in which every token but
the first is learned; documents follow one another with an end-of-sequence token between them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from atlas.errors import AtlasError
from atlas.prompts.chat import text_ids, token_id
from atlas.run.seeding import derive_seed
from atlas.types import Tokens


def corpus_files(corpus: str | Path) -> list[Path]:
    """Return the files of a corpus, in the order of their names.

    Raises:
        AtlasError: There is no text there.
    """
    place = Path(corpus)
    files = sorted(place.rglob("*.txt")) if place.is_dir() else [place]
    if not files or not all(file.is_file() for file in files):
        raise AtlasError(f"corpus {corpus} is neither a text file nor a folder with .txt files")
    return files


def documents(corpus: str | Path) -> Iterator[str]:
    """Yield the texts of a corpus, each file one document.

    Raises:
        AtlasError: There is no text there, or a file is no UTF-8.
    """
    for file in corpus_files(corpus):
        try:
            yield file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise AtlasError(f"{file} is no UTF-8 text: byte {error.start}") from error


def packed_rows(
    texts: Iterator[str], tokenizer: PreTrainedTokenizerBase, *, length: int
) -> list[Tokens]:
    """Return all texts as rows of ``length`` tokens; what is left over at the end is dropped.

    Raises:
        AtlasError: There is less text than one row.
    """
    end = token_id(tokenizer, "eos")
    rows: list[Tokens] = []
    waiting: list[int] = []
    for text in texts:
        waiting += [*text_ids(tokenizer, text), end]
        whole = len(waiting) // length * length
        rows += [
            Tokens(ids=tuple(waiting[i : i + length]), trained=((1, length),) if length > 1 else ())
            for i in range(0, whole, length)
        ]
        waiting = waiting[whole:]
    if not rows:
        raise AtlasError(
            f"the corpus has {len(waiting)} tokens, fewer than one row of {length}; "
            "give more text or lower max_seq_length"
        )
    return rows


def text_steps(
    rows: Sequence[Tokens], *, tokens: int, pass_tokens: int, seed: int
) -> list[list[list[Tokens]]]:
    """Cut rows, shuffled, into steps, and each of them into micro-batches.

    Args:
        rows: Of equal length.
        tokens: Of a step, about.
        pass_tokens: Of a micro-batch, at most; one row goes through whatever it takes.
    """
    length = len(rows[0].ids)
    order = list(rows)
    random.Random(derive_seed(seed, "text rows")).shuffle(order)
    steps = _parts(order, max(1, tokens // length))
    return [_parts(step, max(1, pass_tokens // length)) for step in steps]


def _parts(rows: list[Tokens], size: int) -> list[list[Tokens]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
