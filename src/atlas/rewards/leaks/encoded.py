r"""Answers in code: what decodes to the answer, and doesn't stand in the question.

Read are base64, hexadecimal, binary, character codes, escapes, rot13, words backwards, Roman
numerals and number words of other languages. What could be plain text as well (a lone 31, "MIX",
"net") counts only beside a word that names the code.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote

from atlas.rewards.leaks.foreign_numbers import foreign_numbers
from atlas.rewards.leaks.number_words import number_words_to_digits

Decoded = tuple[str, str]
"""The coded text, and what it decodes to."""

_BASE64 = re.compile(r"(?<![\w+/=-])(?=[\w+/=-]{3})[A-Za-z0-9+/_-]{2,}={0,2}(?![\w+/=-])")
_HEX_BYTES = re.compile(r"(?<!\w)(?:[0-9a-f]{2}[ :]?){2,}(?!\w)", re.IGNORECASE)
_PREFIXED = re.compile(r"(?<!\w)0(?:x[0-9a-f]+|b[01]+|o[0-7]+)(?!\w)", re.IGNORECASE)
_BITS = re.compile(r"(?<![\w.])[01]{4,}(?: [01]{4,})*(?![\w.])")
_CODES = re.compile(r"(?<![\w.])\d{2,3}(?:[ ,;]+\d{2,3})+(?![\w.])")
_CHR = re.compile(r"chr\(\s*\d+\s*\)(?:[\s+.,]*chr\(\s*\d+\s*\))*")
_ESCAPED = re.compile(r"(?:\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|%[0-9a-f]{2}|&#x?[0-9a-f]+;)+", re.I)
_ROMAN = re.compile(
    r"(?<![\w'])(?=[MDCLXVI])M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})(?![\w'])"
)
_ROMAN_MARK = re.compile(r"^[ \t]*[IVXLC]+[.)](?=\s)", re.MULTILINE)
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_WORDS_IN_CAPITALS = frozenset(
    ("I", "MIX", "DIM", "CD", "CV", "MC", "DC", "MD", "CC", "MM", "CIVIL")
)
_NAMED_BASES = (
    (16, re.compile(r"\bhex|\bbase (?:16|sixteen)"), re.compile(r"(?<!\w)[0-9a-f]+(?!\w)")),
    (2, re.compile(r"\bbinary|\bbits?\b|\bbase (?:2|two)"), re.compile(r"(?<!\w)[01]{2,}(?!\w)")),
    (8, re.compile(r"\boctal|\bbase (?:8|eight)"), re.compile(r"(?<!\w)[0-7]{2,}(?!\w)")),
)
_BACKWARDS = re.compile(
    r"\brevers|\bback(?:ward|wards| to front)\b|\bmirror|\bright to left|\bflip"
)
_NAMES_ROT = re.compile(r"\brot-?13|\bcaesar|\bcipher")
_SHORTEST_WORD = 4
"""Letters of an answer below which a coded word would be met by chance."""


def find_encoded(answer: str, question: str, teaching: str) -> str | None:
    """Return the name of the code that gives the answer away, and the coded text.

    Args:
        answer: In lower case.
        teaching: As it is: capitals matter.
    """
    asked = question.casefold()
    for name, decode in _CODES_BY_NAME.items():
        for coded, decoded in decode(teaching):
            if _is(decoded, answer) and not _stands_in(asked, coded.casefold().strip()):
                return f"{name} '{coded.strip()[:40]}'"
    return None


def _stands_in(question: str, coded: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(coded)}(?!\w)", question) is not None


def _is(decoded: str, answer: str) -> bool:
    """Tell whether a decoded text is the answer, or has it for a word."""
    decoded = decoded.casefold().strip(" .!\n")
    number = re.fullmatch(r"-?\d+(?:\.\d+)?", answer)
    if decoded == answer:
        return True
    if not number:
        return bool(answer) and re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", decoded) is not None
    found = re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])", number_words_to_digits(decoded))
    return any(float(one) == float(answer) for one in found)


def _base64(text: str) -> Iterator[Decoded]:
    for match in _BASE64.finditer(text):
        coded = match[0].replace("-", "+").replace("_", "/").rstrip("=")
        try:
            decoded = base64.b64decode(coded + "=" * (-len(coded) % 4), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
        if decoded.isprintable():
            yield match[0], decoded


def _hex(text: str) -> Iterator[Decoded]:
    for match in _HEX_BYTES.finditer(text):
        yield match[0], bytes.fromhex(re.sub("[ :]", "", match[0])).decode("latin-1")


def _bases(text: str) -> Iterator[Decoded]:
    for match in _PREFIXED.finditer(text):
        yield match[0], str(int(match[0], 0))
    lower = text.casefold()
    for base, named, digits in _NAMED_BASES:
        if named.search(lower):
            yield from ((m[0], str(int(m[0], base))) for m in digits.finditer(lower))


def _bits(text: str) -> Iterator[Decoded]:
    for match in _BITS.finditer(text):
        groups = match[0].split()
        if all(len(group) == 8 for group in groups):
            yield match[0], "".join(chr(int(group, 2)) for group in groups)
        # 1000 is a thousand before it is 8.
        for group in groups:
            if group.rstrip("0") != "1":
                yield group, str(int(group, 2))


def _character_codes(text: str) -> Iterator[Decoded]:
    for match in (*_CODES.finditer(text), *_CHR.finditer(text)):
        codes = [int(number) for number in re.findall(r"\d+", match[0])]
        if all(32 <= code < 0x110000 for code in codes):
            yield match[0], "".join(map(chr, codes))


def _escapes(text: str) -> Iterator[Decoded]:
    for match in _ESCAPED.finditer(text):
        slashes = re.sub(
            r"\\[xu]([0-9a-f]{2,4})", lambda one: chr(int(one[1], 16)), match[0], flags=re.I
        )
        yield match[0], unquote(html.unescape(slashes))


def _rot13(text: str) -> Iterator[Decoded]:
    named = _NAMES_ROT.search(text.casefold())
    for match in re.finditer(r"[A-Za-z]+(?:[ -][A-Za-z]+)?", text):
        for word in (*match[0].split(), match[0]):
            if len(word) >= _SHORTEST_WORD or named:
                yield word, codecs.decode(word.casefold(), "rot13")


def _backwards(text: str) -> Iterator[Decoded]:
    named = _BACKWARDS.search(text.casefold())
    for match in re.finditer(r"\w+(?:-\w+)?", text):
        word = match[0][::-1]
        if named or (len(word) >= _SHORTEST_WORD and not word.isdigit()):
            yield match[0], word


def _roman(text: str) -> Iterator[Decoded]:
    named = re.search(r"\broman", text.casefold())
    for match in _ROMAN.finditer(_ROMAN_MARK.sub("", text)):
        if named or (len(match[0]) > 1 and match[0] not in _WORDS_IN_CAPITALS):
            values = [_ROMAN_VALUES[mark] for mark in match[0]]
            pairs = zip(values, [*values[1:], 0], strict=True)
            yield match[0], str(sum(-one if one < after else one for one, after in pairs))


def _foreign(text: str) -> Iterator[Decoded]:
    yield from ((word, str(value)) for word, value in foreign_numbers(text))


_CODES_BY_NAME: dict[str, Callable[[str], Iterator[Decoded]]] = {
    "base64": _base64,
    "escapes": _escapes,
    "hexadecimal": _hex,
    "another base": _bases,
    "binary": _bits,
    "character codes": _character_codes,
    "rot13": _rot13,
    "backwards": _backwards,
    "Roman numerals": _roman,
    "another language": _foreign,
}
