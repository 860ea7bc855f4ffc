"""Number words of other languages, 0 to 99: German, Dutch, French, Spanish, Italian, Portuguese.

And Chinese and Japanese numerals. Input: a text. Output: the numbers that its words mean. Words
that are English words too ("once", "due", "seize") count only beside the name of a language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

_ENGLISH = frozenset(
    ("once", "due", "six", "elf", "um", "un", "dos", "zero", "seize", "quince", "doze", "sept")
) | {"sei", "tien", "uno", "set", "dix"}
_LANGUAGE = re.compile(
    r"\b(?:german|dutch|french|spanish|italian|portuguese|latin|language|deutsch|francais|espanol)"
)
_GERMAN = (
    "null eins zwei drei vier funf sechs sieben acht neun zehn elf zwolf dreizehn vierzehn "
    "funfzehn sechzehn siebzehn achtzehn neunzehn",
    "zwanzig dreissig vierzig funfzig sechzig siebzig achtzig neunzig",
)
_DUTCH = (
    "nul een twee drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien vijftien "
    "zestien zeventien achttien negentien",
    "twintig dertig veertig vijftig zestig zeventig tachtig negentig",
)
_FRENCH = (
    "zero un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze "
    "seize dix-sept dix-huit dix-neuf",
    "vingt trente quarante cinquante soixante",
)
_SPANISH = (
    "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince "
    "dieciseis diecisiete dieciocho diecinueve",
    "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
)
_ITALIAN = (
    "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici "
    "quindici sedici diciassette diciotto diciannove",
    "venti trenta quaranta cinquanta sessanta settanta ottanta novanta",
)
_PORTUGUESE = (
    "zero um dois tres quatro cinco seis sete oito nove dez onze doze treze quatorze quinze "
    "dezesseis dezessete dezoito dezenove",
    "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa",
)
_HAN = {mark: value for value, mark in enumerate("零一二三四五六七八九")} | {"\u3007": 0, "两": 2}
_HAN_NUMBER = re.compile("[零\u3007一二两三四五六七八九十百]+")


def foreign_numbers(text: str) -> Iterator[tuple[str, int]]:
    """Yield the number words of other languages in a text, each with its value."""
    plain = _without_accents(text)
    doubtful = _LANGUAGE.search(plain) is not None
    for match in _pattern().finditer(plain):
        word = re.sub(r"[\s-]+", " ", match[0])
        if doubtful or word not in _ENGLISH:
            yield match[0], _words()[word]
    for match in _HAN_NUMBER.finditer(text):
        value = _han(match[0])
        if value is not None:
            yield match[0], value


@cache
def _words() -> dict[str, int]:
    words: dict[str, int] = {}
    for language, join in (
        (_GERMAN, lambda ten, one: [f"{'ein' if one == 'eins' else one}und{ten}"]),
        (_DUTCH, lambda ten, one: [f"{one}en{ten}", f"{one}-en-{ten}"]),
        (_FRENCH, lambda ten, one: [f"{ten} et un" if one == "un" else f"{ten} {one}"]),
        (_SPANISH, lambda ten, one: [f"{ten} y {one}", f"{ten[:-1]}i{one}"]),
        (_ITALIAN, lambda ten, one: [(ten[:-1] if one in ("uno", "otto") else ten) + one]),
        (_PORTUGUESE, lambda ten, one: [f"{ten} e {one}"]),
    ):
        low, tens = (part.split() for part in language)
        for value, word in enumerate(low):
            words.setdefault(word.replace("-", " "), value)
        for index, ten in enumerate(tens):
            words.setdefault(ten, 20 + 10 * index)
            for value in range(1, 10):
                for joined in join(ten, low[value]):
                    words.setdefault(joined.replace("-", " "), 20 + 10 * index + value)
    french = _FRENCH[0].replace("dix-", "dix ").split()
    teens = [*_FRENCH[0].split()[10:17], "dix sept", "dix huit", "dix neuf"]
    for index, teen in enumerate(teens):
        words |= {f"soixante {teen}": 70 + index, f"quatre vingt {teen}": 90 + index}
    words |= {"soixante et onze": 71, "quatre vingt": 80, "quatre vingts": 80}
    words |= {f"quatre vingt {french[value]}": 80 + value for value in range(1, 10)}
    return words | {"catorze": 14, "dreizig": 30, "fuenf": 5, "zwoelf": 12}


@cache
def _pattern() -> re.Pattern[str]:
    longest_first = sorted(_words(), key=len, reverse=True)
    return re.compile(
        r"\b(?:" + "|".join(word.replace(" ", r"[\s-]+") for word in longest_first) + r")\b"
    )


def _without_accents(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(mark for mark in parts if not unicodedata.combining(mark))


def _han(text: str) -> int | None:
    """Read ``二十四`` as 24, and ``一四`` digit by digit as 14."""
    if not set(text) & {"十", "百"}:
        return int("".join(str(_HAN[mark]) for mark in text))
    total = current = 0
    for mark in text:
        if mark in _HAN:
            current = _HAN[mark]
        else:
            total += max(current, 1) * (10 if mark == "十" else 100)
            current = 0
    return total + current
