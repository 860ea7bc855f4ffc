"""Texts that end a completion, wherever they fall between its tokens."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

# A token may begin in the middle of a character of up to four bytes, and the first of a text may
# lose its space when decoded.
_SLACK = 4


class StopStrings:
    """Tells when the newest token completes one of the texts.

    Only the end of a completion is decoded: every token that shows has at least one byte, so a text
    of n bytes lies within its last n tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._special = frozenset(tokenizer.all_special_ids)
        self._window = max(len(text.encode()) for text in stop) + _SLACK

    def complete(self, rows: Sequence[Sequence[int]]) -> list[bool]:
        """Return for each row of tokens so far whether it ends with a text being there."""
        ends = [self._end(row) for row in rows]
        texts = self._tokenizer.batch_decode(ends, skip_special_tokens=True)
        return [any(stop in text for stop in self._stop) for text in texts]

    def _end(self, row: Sequence[int]) -> list[int]:
        shown: list[int] = []
        for token in reversed(row):
            if len(shown) == self._window:
                break
            if token not in self._special:
                shown.append(token)
        return shown[::-1]
