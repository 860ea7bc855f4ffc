"""Text to the one quantity that it states: a number in any usual dress, and what it counts.

Read are thousands separators (``1,234.5``, ``1 234``), fractions and mixed numbers (``3/4``,
``1 1/2``, ``½``, ``two thirds``), powers (``1.2e3``, ``1.2 × 10^3``, ``2^10``), number words and
scales (``1.5 million``), signs (``minus 5``), currency signs in front, ``%``, sums of units
(``2 h 30 min``) and what leads to a number (``x =``, ``it is about``). The whole text must be read:
where something is left that may make it another number ("at least 5", "half of 5", "5 or 6",
"5!"), there is no quantity. A comma is never a decimal point.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from atlas.rewards.leaks.number_words import number_words_to_digits
from atlas.rewards.verifiers.answers import bare
from atlas.rewards.verifiers.numeric.units import Unit, find_unit
from atlas.rewards.verifiers.reference import plain_letters

_SCALES = {
    **{"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9},
    **{"trillion": 10**12, "dozen": 12},
}
_PARTS = {
    **{"half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6},
    **{"seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10, "hundredth": 100, "thousandth": 1000},
}
_DECIMAL = r"(?:[1-9]\d{0,2}(?:,\d{3})+(?![\d,])|[1-9]\d{0,2}(?: \d{3})+(?!\d)|\d+)(?:\.\d*)?|\.\d+"
_EXPONENT = r"\^\s*[({]?\s*[+-]?\d+\s*[)}]?"
_NUMBER = re.compile(
    r"(?P<sign>[-+]\s*)?(?P<coin>[$€£¥]\s*)?(?P<minus>-)?"
    r"(?:(?P<whole>\d+)\s+(?P<over>\d+)\s?/\s?(?P<under>\d+)|(?P<number>" + _DECIMAL + ")"
    rf"(?:(?P<ten>e[+-]?\d+|\s*[×x*]\s*10\s*{_EXPONENT})|\s*(?P<power>{_EXPONENT}))?"
    r"(?:\s*/\s*(?P<divisor>\d+(?:\.\d+)?))?)"
    rf"(?:[\s-]+(?P<scale>{'|'.join(_SCALES)})s?\b)?(?:[\s-]+(?P<part>{'|'.join(_PARTS)})s?\b)?",
    re.IGNORECASE,
)
_LATEX = (
    (re.compile(r"\\[dtc]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}"), r" \1/\2"),
    (re.compile(r"\\(?:text|mathrm|mbox|textrm)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\(?:boxed|fbox|mathbf|textbf)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\{,\}|\\!|\\,(?=\d{3}(?!\d))|\\(?:left|right|displaystyle)\b"), ""),
    (re.compile(r"\^\s*(?:\\circ\b|\{\s*\\circ\s*\})|\\degree\b"), "°"),
    (re.compile(r"\\[,;: ]|\\q?quad\b|~"), " "),
    (re.compile(r"\\(?:times|cdot)\b"), "×"),
    (re.compile(r"\\approx\b"), "≈"),
    (re.compile(r"(\^)\{\s*(-?\d+)\s*\}"), r"\1\2"),
)
_VULGAR = re.compile(r"(\d+)?\s*([¼-¾⅐-⅞])")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_FROM_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_WORDS = (
    (re.compile(r"\b(?:one |1 )?half an? (?=\w)", re.IGNORECASE), "0.5 "),
    (re.compile(rf"\ban? (?=(?:{'|'.join([*_PARTS, *_SCALES])})\b)", re.IGNORECASE), "1 "),
    (re.compile(r"(\d+) and (?:1 half|1/2)\b", re.IGNORECASE), r"\1 1/2"),
    (re.compile(r"\b(?:minus|negative)\s+(?=[$€£¥]?\.?\d)", re.IGNORECASE), "-"),
    (re.compile(r"^half$", re.IGNORECASE), "1/2"),
)
_LARGE = re.compile(r"(\d+) (million|billion|trillion)s?,? (?:and )?(\d+)(?! (?:mi|bi|tri)llion)")
_DEGREES = re.compile(r"\s*°\s*(?=[CF]\b)")

_RESULT = re.compile(r"(?<![<>!:])[=≈](?!=)")
_UNSOLVED = re.compile(r"(?<![^\W\d_])([^\W\d_])\s*[\^*/+-]|[\d)*/+-]\s*([^\W\d_])(?![^\W\d_])")
_LEAD = re.compile(
    r"(?P<said>[^\d=≈]*?(?:\b(?:is|are|was|were|be|has|have|had|equals?|equal to|costs?|weighs?|"
    r"gets?|makes?|(?:a|the) total of)(?=\W)|:|\w['\u2019]s\b)\s*)?"
    r"(?:(?:about|approximately|approx\.?|around|roughly|exactly|precisely|only|just|≈)\s+)?",
    re.IGNORECASE,
)
_DENYING = """
not no never neither nor isn't aren't wasn't cannot can't doesn't if unless wrong incorrect false
maybe either or least most than without except but between
"""
_DENIES = frozenset(_DENYING.split())
"""Words before a number after which it may not be what is stated."""
_TAIL = re.compile(r"(?:[^\d]|(?<=[A-Za-z^])\d|(?<=[A-Za-z^][-+])\d)*")
_NOUN = re.compile(r"[^\W\d_]{2,}[.)]?(?:[\s'\u2019-]+\(?[^\W\d_]+[.)]?){0,6}")
_CHANGING = """
and more less fewer minimum maximum min max over under above below beyond up upto to through until
from plus minus multiplied divided by squared square cubed cube factorial power root sqrt log ln mod
modulo double twice triple thrice base binary hex hexadecimal octal pi million millions thousand
thousands hundred hundreds billion billions trillion trillions dozen dozens score gross mil mn bn
mio mrd lakh lakhs crore crores grand pair pairs th st nd rd infinity recurring repeating point
choose
"""
_CHANGES = _DENIES | frozenset(_CHANGING.split())
"""Words behind a number with which it may be another one."""
_MOST_DIGITS = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """One number with what it counts.

    Example:
        >>> read_quantity("about 1,200 km/h").value, read_quantity("at least 5")
        (Fraction(1200, 1), None)
    """

    value: Fraction
    unit: Unit | None
    """None where no unit follows, or one that isn't known."""
    noun: str
    """What follows, as written: ``apples``."""

    def in_base(self, unit: Unit | None = None) -> Fraction:
        """Return the value in base units; in ``unit`` where the quantity has none of its own."""
        unit = self.unit or unit
        if unit is None:
            return self.value
        return self.value * Fraction(unit.factor) + Fraction(unit.offset)


def read_quantity(text: str) -> Quantity | None:
    """Return the quantity that a text states; None where it doesn't surely state one."""
    return _read(_plain(bare(text)))


def _read(text: str) -> Quantity | None:
    # "2 * 30 = 60" ends in its result; "2x = 60" doesn't say what x is.
    *before, text = _RESULT.split(text)
    if any(not _is_solved(one) for one in before):
        return None
    text = text.strip()
    twice = re.fullmatch(r"(.*\S)\s*\(([^()]*)\)", text)
    other = _read(_plain(twice[2])) if twice else None
    if twice and other:  # "5 (five)"
        one = _read(_plain(twice[1]))
        return one if one and _close(one.in_base(), other.in_base(one.unit)) else None
    lead = _LEAD.match(text)
    assert lead
    if _words(lead["said"] or "") & _DENIES:
        return None
    found: list[Quantity] = []
    place = lead.end()
    while place < len(text):
        match = _NUMBER.match(text, place)
        tail = _TAIL.match(text, match.end()) if match else None
        one = _quantity(match, tail[0], last=tail.end() == len(text)) if match and tail else None
        if one is None or tail is None:
            return None
        found.append(one)
        place = tail.end()
    return _sum(found)


def _quantity(match: re.Match[str], tail: str, *, last: bool) -> Quantity | None:
    value = _value(match)
    noun = tail if last else re.sub(r"[\s,]*(?:\band\b)?\s*$", "", tail)
    noun = re.sub(r"(?<=[^\W\d_])!$", "", noun.strip()).strip(" *_`.,;:…")
    unit = find_unit(noun) if noun else None
    if value is None:
        return None
    if noun and unit is None:
        unit, rest = _unit_in_front(noun)
        # What stands right behind the digits is a unit or part of the number: 2k, 5x, 3rd.
        attached = not tail[0].isspace() and not (match["scale"] or match["part"])
        if rest and (not _NOUN.fullmatch(rest) or _words(rest) & _CHANGES):
            return None
        if attached and unit is None and not tail.startswith((",", ";", "-")):
            return None
    if match["coin"]:
        if len(noun) == 1:  # $5k, $5m
            return None
        coin = match["coin"].strip()
        unit = find_unit(f"{coin} {noun}") if unit else find_unit(coin)
    return Quantity(value=value, unit=unit, noun=noun)


def _unit_in_front(noun: str) -> tuple[Unit | None, str]:
    """Return the longest unit at the beginning of what follows a number, and the rest."""
    words = noun.split()
    for count in range(min(len(words), 8), 0, -1):
        unit = find_unit(" ".join(words[:count]).strip(" ,;-"))
        if unit is not None:
            return unit, " ".join(words[count:])
    return None, noun


def _sum(found: Sequence[Quantity]) -> Quantity | None:
    """Return what ``2 h 30 min`` is: 150 min."""
    if len(found) < 2:
        return found[0] if found else None
    units = [one.unit for one in found if one.unit is not None and not one.unit.offset]
    if len(units) < len(found) or len({unit.dimension for unit in units}) > 1:
        return None
    falling = all(one.factor > other.factor for one, other in pairwise(units))
    if not falling or not units[0].dimension or any(one.value < 0 for one in found[1:]):
        return None
    sign = -1 if found[0].value < 0 else 1
    total = sum(abs(one.in_base()) for one in found) / Fraction(units[0].factor)
    return Quantity(value=sign * total, unit=units[0], noun=found[0].noun)


def _value(match: re.Match[str]) -> Fraction | None:
    if match["sign"] and match["minus"]:
        return None
    sign = -1 if "-" in (match["sign"] or "") + (match["minus"] or "") else 1
    digits = re.sub("[, ]", "", match["number"] or match["whole"] + match["over"])
    exponent = int(re.findall(r"[+-]?\d{1,9}", match["ten"] or match["power"] or "0")[-1])
    if len(digits) + abs(exponent) > _MOST_DIGITS:
        return None
    try:
        if match["whole"]:
            value = int(match["whole"]) + Fraction(int(match["over"]), int(match["under"]))
        elif match["power"]:
            value = Fraction(digits) ** exponent
        else:
            value = Fraction(digits) * Fraction(10) ** exponent
        value /= Fraction(match["divisor"] or 1)
    except ZeroDivisionError:
        return None
    scale, part = (match["scale"] or "").casefold(), (match["part"] or "").casefold()
    return sign * value * _SCALES.get(scale, 1) / _PARTS.get(part, 1)


def _plain(text: str) -> str:
    """Bring signs, LaTeX, fractions of one sign and number words to plain digits."""
    for pattern, put in _LATEX:
        text = pattern.sub(put, text)
    if len(re.findall(r"(?<!\\)\$", text)) % 2 == 0:
        text = re.sub(r"(?<!\\)\$", " ", text)  # LaTeX's; a single one is a currency
    text = re.sub(r"\\([%$])", r"\1", text)
    text = _VULGAR.sub(_vulgar, text)
    text = _RAISED.sub(lambda match: "^" + match[0].translate(_FROM_RAISED), text)
    text = _DEGREES.sub(" °", plain_letters(text)).replace("**", "^")
    # Only where there are no digits: "5 one-litre bottles" is 5 of something.
    if not re.search(r"\d", text):
        words = number_words_to_digits(text.casefold(), bare_one=True)
        text = text if words == text.casefold() else _LARGE.sub(_large, words)
    for pattern, put in _WORDS:
        text = pattern.sub(put, text)
    return " ".join(text.split())


def _large(match: re.Match[str]) -> str:
    """Add ``2 million 300000`` up."""
    scale, rest = _SCALES[match[2]], int(match[3])
    return str(int(match[1]) * scale + rest) if rest < scale else match[0]


def _vulgar(match: re.Match[str]) -> str:
    over, under = unicodedata.normalize("NFKC", match[2]).split("\u2044")
    return f" {match[1] or ''} {over}/{under}"


def _is_solved(side: str) -> bool:
    """Tell whether the left side of an equation has no letter to be worked out."""
    letters = {letter for pair in _UNSOLVED.findall(side) for letter in pair if letter}
    return all(find_unit(letter) is not None for letter in letters)


def _close(one: Fraction, other: Fraction) -> bool:
    return abs(one - other) <= Fraction(1, 10**6) * max(abs(one), abs(other))


def _words(text: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.casefold().replace("\u2019", "'")))
