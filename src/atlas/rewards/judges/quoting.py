r"""Judged text in a prompt, quoted so that it can't leave its quotation.

Input: the texts to judge, by name. Output: one line of JSON, and back. Three layers, all of which
can be undone exactly, so that the judge reads what was written:

- JSON: a line break or a quotation mark of the text can't end the line or the string;
- escapes: ``<``, square-bracketed role names, and every character that is invisible, reorders text
  or turns into one of these when normalised, stand as ``\uXXXX``. So no tokenizer reads a chat
  template's special token in it, and nothing in it looks like something that it isn't;
- fences: the line stands between two lines with a random name, drawn anew for every call.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

# Whatever begins a special token of a known chat template: `<|im_start|>`, `</s>`, `<<SYS>>`,
# `[INST]`, `[gMASK]`, and the block that sentencepiece writes for a blank.
_ROLE_NAME = re.compile(r"\[(?=/?[A-Za-z_]*[A-Z]{2}[A-Za-z_]*\])")
_SPECIAL = "<\u2581"
_DECEPTIVE = ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp")
"""Unicode categories that show nothing, or change what is shown around them."""


def quote(material: Mapping[str, Any], *, max_chars: int) -> str:
    """Return the material as one line of JSON that can hold no special token.

    Args:
        material: Texts by name; lists and numbers may stand among them.
        max_chars: A longer text keeps its beginning and its end, and says how much is left out.
    """
    cut = {name: _cut(value, max_chars) for name, value in material.items()}
    line = json.dumps(cut, ensure_ascii=False)
    line = "".join(mark if _is_plain(mark) else _escape(mark) for mark in line)
    return _ROLE_NAME.sub(lambda bracket: _escape(bracket[0]), line)


def unquote(prompt: str, fence: str) -> dict[str, Any]:
    """Read the material back from a prompt; the test of what `quote` promises.

    Raises:
        ValueError: The prompt doesn't hold exactly one quoted line.
    """
    found = re.findall(rf"^BEGIN {fence}$\n^(.*)$\n^END {fence}$", prompt, re.MULTILINE)
    marks = re.findall(rf"^(?:BEGIN|END) {fence}$", prompt, re.MULTILINE)
    if (len(found), len(marks)) != (1, 2):
        raise ValueError(f"{len(found)} quoted regions between {len(marks)} fences")
    return json.loads(found[0])


def _cut(value: Any, max_chars: int) -> Any:
    """Cut a long text in its middle; the mark is structure, which no text can imitate."""
    if isinstance(value, str) and len(value) > max_chars:
        half = max_chars // 2
        left_out = len(value) - 2 * half
        return {"head": value[:half], "left_out_chars": left_out, "tail": value[-half:]}
    if isinstance(value, Mapping):
        return {name: _cut(item, max_chars) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_cut(item, max_chars) for item in value]
    return value


def _is_plain(mark: str) -> bool:
    if mark.isascii():
        return mark not in _SPECIAL and mark.isprintable()
    if mark in _SPECIAL or unicodedata.category(mark) in _DECEPTIVE:
        return False
    # A full-width bracket or bar becomes an ASCII one when a tokenizer normalises.
    return not any(part in '<>[]|{}"\\' for part in unicodedata.normalize("NFKC", mark))


def _escape(mark: str) -> str:
    """Return a character as JSON escapes, two of them beyond the first 65,536 characters."""
    return json.dumps(mark)[1:-1] if not mark.isascii() else f"\\u{ord(mark):04x}"
