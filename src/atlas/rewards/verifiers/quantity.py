"""Text to a quantity: a number in any usual dress, and what stands behind it.

Read are thousands separators (``1,234.5``, ``1 234``), fractions and mixed numbers (``3/4``,
``1 1/2``, ``½``), powers of ten (``1.2e3``, ``1.2 × 10^3``), number words, currency signs in front
and ``%``. A comma is never a decimal point: ``1,5`` is two numbers.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from atlas.rewards.leaks.number_words import number_words_to_digits
from atlas.rewards.verifiers.units import Unit, find_unit

_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d{1,3}(?: \d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_TEN = r"(?:e[+-]?\d+(?!\w)|\s*(?:[×x*]|\\times)\s*10\s*(?:\^|\*\*)\s*[({]?[+-]?\d+[)}]?)"
_NUMBER = re.compile(
    # Not the power of a unit: m^2, s^-2, s-2.
    r"(?<![\w^])(?<!\^[-+({])(?<![A-Za-z²³][-+])"
    rf"(?P<sign>(?<![\w)])[-+]\s*)?(?P<coin>[$€£¥]\s*)?(?P<minus>-)?"
    rf"(?:(?P<whole>\d+)\s+(?P<over>\d+)/(?P<under>\d+)(?!\d)"
    rf"|(?P<number>{_DECIMAL})(?P<ten>{_TEN})?(?:\s*/\s*(?P<divisor>\d+(?:\.\d+)?)(?![\w.]))?)"
    r"(?!\d|\s*(?:\^|\*\*)\s*\d)",
    re.IGNORECASE,
)
_LATEX = (
    (re.compile(r"\\d?frac\{(\d+)\}\{(\d+)\}"), r"\1/\2"),
    (re.compile(r"\\(?:text|mathrm|mbox)\{([^{}]*)\}"), r" \1"),
    (re.compile(r"\\boxed\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\[,;!: ]|~"), " "),
    (re.compile(r"\\([%$])"), r"\1"),
)
_VULGAR = re.compile(r"(\d+)?\s*([¼-¾⅐-⅞])")
_DEGREES = re.compile(r"\s*°\s*(?=[CF]\b)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """One number in a text.

    Example:
        >>> read_quantities("about 1,200 km/h")[0].value, read_quantities("half past 3")[0].unit
        (1200.0, None)
    """

    value: float
    unit: Unit | None
    """None where no unit follows, or one that isn't known."""
    noun: str
    """What follows, as written: ``apples``."""


def read_quantities(text: str) -> list[Quantity]:
    """Return all numbers of a text in their order, with their units."""
    text = _plain(text)
    matches = list(_NUMBER.finditer(text))
    ends = [*(match.start() for match in matches[1:]), len(text)][: len(matches)]
    found: list[Quantity] = []
    for match, end in zip(matches, ends, strict=True):
        noun = text[match.end() : end].strip()
        unit = _unit_of(noun)
        if match["coin"]:
            coin = match["coin"].strip()
            unit = find_unit(f"{coin} {noun}") if unit else find_unit(coin)
        value = _value(match)
        if value is not None:
            found.append(Quantity(value=value, unit=unit, noun=noun))
    return found


def _unit_of(noun: str) -> Unit | None:
    """Return the longest unit at the beginning of what follows a number."""
    noun = re.split(r"[;:!?()\n=]|,|\.(?:\s|$)", noun.strip(" $*`_"))[0].strip(" -.")
    words = noun.split()
    for count in range(min(len(words), 8), 0, -1):
        unit = find_unit(" ".join(words[:count]))
        if unit is not None:
            return unit
    return None


def _value(match: re.Match[str]) -> float | None:
    sign = -1.0 if "-" in (match["sign"] or "") + (match["minus"] or "") else 1.0
    try:
        if match["whole"]:
            return sign * (int(match["whole"]) + int(match["over"]) / int(match["under"]))
        value = float(re.sub("[, ]", "", match["number"]))
        if match["ten"]:
            value *= 10.0 ** int(re.findall(r"[+-]?\d+", match["ten"])[-1])
        return sign * value / float(match["divisor"] or 1)
    except (ZeroDivisionError, OverflowError, ValueError):
        return None


def _plain(text: str) -> str:
    """Bring signs, LaTeX, fractions of one sign and number words to plain digits."""
    for pattern, put in _LATEX:
        text = pattern.sub(put, text)
    text = _VULGAR.sub(_vulgar, text)
    text = re.sub("[\u2010-\u2015\u2212]", "-", text).replace("\u00a0", " ").replace("\u202f", " ")
    text = _DEGREES.sub(" °", text)
    words = number_words_to_digits(text.casefold(), bare_one=True)
    # Only where there are no digits: "5 one-litre bottles" is 5 of something.
    return text if re.search(r"\d", text) or words == text.casefold() else words


def _vulgar(match: re.Match[str]) -> str:
    over, under = unicodedata.normalize("NFKC", match[2]).split("\u2044")
    return f"{match[1] or ''} {over}/{under}"
