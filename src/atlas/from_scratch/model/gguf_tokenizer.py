"""What GGUF can say of a tokenizer: vocabulary, merges, kinds of tokens, and the name of a split.

Input: a tokenizer. Output: the name under which llama.cpp splits a text as it does, or an error
that names the part of the tokenizer for which GGUF has no words: whatever isn't known to be equal
is refused.

Names of splits, and what they stand for in llama.cpp (`SPLITS`):

    gpt-2       GPT-2's pattern
    smollm      single digits, then GPT-2's pattern
    poro-chat   words and marks, without a thought for digits and contractions

Nothing there splits as guide A's tokenizer does (`WORDS`), but ``poro-chat`` only ever cuts where
that cuts too. So both give equal tokens where no merge can act across a cut that ``poro-chat``
leaves out, which is a question to each merge (`_stays_in_a_piece`).
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NoReturn

from tokenizers import Regex, pre_tokenizers

from atlas.errors import AtlasError
from atlas.from_scratch.model.tokenizer import EARLIER_WORDS, WORDS

_PORO = r" ?[^(\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
SPLITS: Final[Mapping[str, Any]] = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    ),
    "poro-chat": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PORO), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}
"""How llama.cpp splits a text, by the name that a file gives it."""

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
_GPT_2 = {**_BYTES, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}
_PIECES = [
    [
        {"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": False},
        _BYTES,
    ]
    for words in (WORDS, EARLIER_WORDS)
]
_OPTIONS = {
    "dropout": (None, 0.0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (None, False),
    "ignore_merges": (None, False),
}
"""Option of a BPE -> what it must be; an unknown token isn't needed where every byte is known."""
_CONTINUATION = range(0x80, 0xC0)


def split_name(tokenizer: Any) -> str:
    """Return the name of the split under which llama.cpp gives the tokens of a tokenizer.

    Args:
        tokenizer: A `PreTrainedTokenizerFast`.

    Raises:
        AtlasError: GGUF has no words for a part of it.
    """
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    model = described["model"]
    if model["type"] != "BPE" or (described["decoder"] or {}).get("type") != "ByteLevel":
        _refuse("model and decoder are no byte-level BPE")
    for option, allowed in _OPTIONS.items():
        if model.get(option) not in allowed:
            _refuse(f"model has {option} = {json.dumps(model[option])}")
    if lacking := set(_bytes_of()) - set(model["vocab"]):
        _refuse(f"vocabulary lacks {len(lacking)} of the 256 bytes")
    if not model["merges"]:
        _refuse("model has no merges")
    if described["normalizer"] is not None:
        _refuse(f"normalizer ({_types(described['normalizer'])}) changes texts before they are cut")
    for step in _steps(described["post_processor"]):
        if step["type"] != "ByteLevel" and not _adds_nothing(step):
            _refuse(f"post_processor ({step['type']}) adds tokens to a text, such as BOS")
    _check_added(described["added_tokens"])
    return _named(described, tokenizer.backend_tokenizer.pre_tokenizer)


def merges(tokenizer: Any) -> list[tuple[str, str]]:
    """Return the merges of a byte-level BPE, the first one first."""
    return _pairs(json.loads(tokenizer.backend_tokenizer.to_str()))


def _named(described: Mapping[str, Any], pieces: Any) -> str:
    splits = described["pre_tokenizer"]
    steps = [{k: v for k, v in step.items() if k != "trim_offsets"} for step in _steps(splits)]
    if steps == [_GPT_2]:
        return "gpt-2"
    if steps == [_DIGITS, _GPT_2]:
        return "smollm"
    if steps not in _PIECES:
        _refuse(f"pre_tokenizer ({_types(splits)}) cuts as none of {', '.join(SPLITS)} does")
    spelt = _bytes_of()
    for left, right in _pairs(described):
        token = bytes(spelt[letter] for letter in left + right)
        if not _stays_in_a_piece(token, pieces):
            _refuse(f"vocabulary has the entry {token!r}, which merges across words")
    return "poro-chat"


def _stays_in_a_piece(token: bytes, pieces: Any) -> bool:
    """Say whether all of a merged token lies in one piece in every text in which its bytes stand.

    Whether two letters are in one piece is a question of these two only, as `WORDS` are written. A
    token may end in the middle of a letter: then each letter that begins so is asked for.
    """
    if all(byte in _CONTINUATION for byte in token[1:]):
        return True  # of a single letter
    if token[0] in _CONTINUATION:
        return False  # all kinds of letters end so
    decoder = codecs.getincrementaldecoder("utf-8")()
    text = decoder.decode(token)
    begun = decoder.getstate()[0]
    return _in_one(text, pieces) and (not begun or _all_join(text[-1], begun, pieces))


@lru_cache(maxsize=10_000)
def _all_join(letter: str, begun: bytes, pieces: Any) -> bool:
    """Say whether every letter whose UTF-8 begins with ``begun`` stays with the one before it."""
    length = 2 if begun[0] < 0xE0 else 3 if begun[0] < 0xF0 else 4
    first, last = (begun + bytes([fill]) * (length - len(begun)) for fill in (0x80, 0xBF))
    codes = range(_code(first), min(_code(last), 0x10FFFF) + 1)
    others = (chr(code) for code in codes if not 0xD800 <= code < 0xE000)
    return all(_in_one(letter + other, pieces) for other in others)


def _code(letter: bytes) -> int:
    """Return the number that UTF-8 spells, though it may be too small or too large to be one."""
    code = letter[0] & (0x7F >> len(letter))
    for byte in letter[1:]:
        code = code << 6 | byte & 0x3F
    return code


def _in_one(text: str, pieces: Any) -> bool:
    return len(pieces.pre_tokenize_str(text)) == 1


def _check_added(added: list[dict[str, Any]]) -> None:
    """Refuse added tokens that llama.cpp finds in other places: it looks for the longest first."""
    for token in added:
        if flags := [name for name in ("single_word", "lstrip", "rstrip") if token[name]]:
            _refuse(f"added token {token['content']!r} has the flag {flags[0]}")
    contents = [token["content"] for token in added]
    for one in contents:
        for other in contents:
            most = min(len(one), len(other))
            if one != other and any(one.endswith(other[:k]) for k in range(1, most)):
                _refuse(f"added tokens {one!r} and {other!r} overlap")


def _steps(part: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the steps of a part of ``tokenizer.json``, which may be none, one or a sequence."""
    if part is None:
        return []
    for inner in ("pretokenizers", "processors", "normalizers"):
        if part["type"] == "Sequence" and inner in part:
            return [step for each in part[inner] for step in _steps(each)]
    return [dict(part)]


def _types(part: Mapping[str, Any] | None) -> str:
    return ", ".join(step["type"] for step in _steps(part)) or "none"


def _adds_nothing(step: Mapping[str, Any]) -> bool:
    if step["type"] != "TemplateProcessing":
        return False
    return [list(part) for part in step["single"]] == [["Sequence"]]


def _pairs(described: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = described["model"]["merges"]
    return [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in found]


@lru_cache(maxsize=1)
def _bytes_of() -> dict[str, int]:
    """Return the byte that each letter of a byte-level vocabulary stands for."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode  # noqa: PLC0415 - slow

    return {letter: byte for byte, letter in bytes_to_unicode().items()}


def _refuse(what: str) -> NoReturn:
    raise AtlasError(
        f"the tokenizer can't be said in GGUF: its {what}; export it with --format safetensors"
    )
