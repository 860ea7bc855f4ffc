"""Units: a name to its size in base units. A small table, so that what counts as equal is plain.

A unit is a factor and an offset (for temperatures) in base units, and its dimension: powers of
metre, kilogram, second, ampere, kelvin, mole, bit, radian and coin. Products, quotients and powers
are read as people write them: ``km/h``, ``miles per hour``, ``m s^-2``, ``kg·m²/s²``. Currencies
are told apart, and so are counted things (``5 apples``), which are no units.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

Dimension = tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """A quantity of 1 in this unit is ``factor`` (and ``offset``) in base units."""

    factor: float
    dimension: Dimension
    offset: float = 0.0


_TABLE = """
m 1 m: metre metres meter meters
in 0.0254 m: inch inches "
ft 0.3048 m: foot feet '
yd 0.9144 m: yard yards
mi 1609.344 m: mile miles
nmi 1852 m: nautical_mile nautical_miles
ly 9.4607304725808e15 m: light_year light_years light-year light-years
au 149597870700 m: astronomical_unit astronomical_units
ha 1e4 m2: hectare hectares
acre 4046.8564224 m2: acres
l 1e-3 m3: L liter liters litre litres
gal 3.785411784e-3 m3: gallon gallons
qt 0.946352946e-3 m3: quart quarts
pt 0.473176473e-3 m3: pint pints
cup 0.2365882365e-3 m3: cups
tbsp 14.78676478125e-6 m3: tablespoon tablespoons
tsp 4.92892159375e-6 m3: teaspoon teaspoons
s 1 s: sec secs second seconds
min 60 s: mins minute minutes
h 3600 s: hr hrs hour hours
day 86400 s: d days
week 604800 s: wk weeks
month 2629800 s: months
yr 31557600 s: year years
g 1e-3 kg: gram grams
Kg 1 kg: KG
t 1e3 kg: tonne tonnes metric_ton metric_tons
lb 0.45359237 kg: lbs pound pounds
oz 0.028349523125 kg: ounce ounces
mph 0.44704 m,s-1:
kph 0.2777777777777778 m,s-1: kmh
knot 0.5144444444444445 m,s-1: knots kn
hz 1 s-1: Hz hertz
rpm 0.016666666666666666 s-1:
n 1 kg,m,s-2: N newton newtons
pa 1 kg,m-1,s-2: Pa pascal pascals
bar 1e5 kg,m-1,s-2: bars
atm 101325 kg,m-1,s-2: atmosphere atmospheres
psi 6894.757293168361 kg,m-1,s-2:
j 1 kg,m2,s-2: J joule joules
cal 4.184 kg,m2,s-2: calorie calories
wh 3600 kg,m2,s-2: Wh
ev 1.602176634e-19 kg,m2,s-2: eV
w 1 kg,m2,s-3: W watt watts
hp 745.6998715822702 kg,m2,s-3: horsepower
a 1 A: A amp amps ampere amperes
v 1 kg,m2,s-3,A-1: V volt volts
ohm 1 kg,m2,s-3,A-2: ohms Ω
c 1 A,s: C coulomb coulombs
f 1 A2,s4,kg-1,m-2: F farad farads
mol 1 mol: mole moles
bit 1 bit: bits
b 8 bit: B byte bytes
KB 8000 bit:
kib 8192 bit: KiB
mib 8388608 bit: MiB
gib 8589934592 bit: GiB
rad 1 rad: radian radians
deg 0.017453292519943295 rad: ° degree degrees
k 1 K: K kelvin kelvins
% 0.01 : percent pct
$ 1 USD: dollar dollars usd USD
cent 0.01 USD: cents ¢
€ 1 EUR: euro euros eur EUR
£ 1 GBP: gbp GBP pound_sterling pounds_sterling
¥ 1 JPY: yen jpy JPY
"""
_PREFIXES = {
    **{"pico": 1e-12, "nano": 1e-9, "micro": 1e-6, "milli": 1e-3, "centi": 1e-2, "deci": 1e-1},
    **{"hecto": 1e2, "kilo": 1e3, "mega": 1e6, "giga": 1e9, "tera": 1e12},
}
_SHORT = {
    **{"p": 1e-12, "n": 1e-9, "µ": 1e-6, "μ": 1e-6, "u": 1e-6, "m": 1e-3, "c": 1e-2, "d": 1e-1},
    **{"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12},
}
_TAKES_PREFIX = ("m", "g", "l", "s", "hz", "n", "pa", "j", "cal", "wh", "ev", "w", "a", "v")
_TAKES_PREFIX += ("ohm", "c", "f", "mol", "bit", "b", "rad", "t", "ly", "bar")
_CAPITAL = {"hz": "Hz", "n": "N", "pa": "Pa", "j": "J", "wh": "Wh", "ev": "eV", "w": "W"}
_CAPITAL |= {"a": "A", "v": "V", "c": "C", "f": "F", "b": "B", "k": "K"}
"""Symbols that mean something else, or nothing, in the other case."""
_TEMPERATURES = {
    "celsius": Unit(factor=1, offset=273.15, dimension=(("K", 1),)),
    "fahrenheit": Unit(factor=5 / 9, offset=255.3722222222222, dimension=(("K", 1),)),
}
_TEMPERATURE = re.compile(
    r"(?:°|deg|degrees?)?\s*(?:(c|celsius|centigrade)|(f|fahrenheit))", re.IGNORECASE
)
_POWER = re.compile(r"(.*?)(?:\^|\*\*)?\(?([-+]?\d)\)?")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_WORDS = (
    (r"\s+squared\b", "^2"),
    (r"\s+cubed\b", "^3"),
    (r"\b(?:square\b|sq\b\.?)\s*(\w+)", r"\1^2"),
    (r"\b(?:cubic\b|cu\b\.?)\s*(\w+)", r"\1^3"),
)
_LONG = re.compile(r"(nautical|metric|light|astronomical)\s+(miles?|tons?|years?|units?)")


@cache
def find_unit(text: str) -> Unit | None:
    """Return what a unit's text means, None where it isn't made of known units.

    Example:
        >>> find_unit("miles per hour") == find_unit("mph")
        True
        >>> find_unit("apples") is None
        True
    """
    text = text.strip()
    if temperature := _TEMPERATURE.fullmatch(text):
        named = len(text) > 1  # a lone C is the coulomb, a lone F the farad
        if named:
            return _TEMPERATURES["celsius" if temperature[1] else "fahrenheit"]
    factor, powers, sign = 1.0, dict[str, int](), 1
    for word in _factors(text):
        if word in ("/", "per"):
            sign = -1
            continue
        if word in ("*", "·", "⋅"):
            continue
        single = _power(word)
        if single is None:
            return None
        unit, power = single
        factor *= unit.factor ** (sign * power)
        for base, exponent in unit.dimension:
            powers[base] = powers.get(base, 0) + sign * power * exponent
    return Unit(factor=factor, dimension=tuple(sorted((b, p) for b, p in powers.items() if p)))


def _factors(text: str) -> Iterator[str]:
    """Yield the words of a compound unit, and the signs between them."""
    text = text.translate(_SUPERSCRIPTS)
    for pattern, put in _WORDS:
        text = re.sub(pattern, put, text)
    text = _LONG.sub(r"\1_\2", text)
    yield from re.findall(r"/|\*(?!\*)|[·⋅]|[^\s/*·⋅]+(?:\*\*[-+]?\d)?", text)


def _power(word: str) -> tuple[Unit, int] | None:
    """Read ``s^-2``: a unit and its power."""
    whole = _single(word.strip("()."))
    if whole is not None:
        return whole, 1
    match = _POWER.fullmatch(word.strip("()."))
    unit = _single(match[1]) if match else None
    return (unit, int(match[2])) if match and unit else None


@cache
def _units() -> dict[str, Unit]:
    """Return every name and symbol, as written and in lower case, with its unit."""
    units: dict[str, Unit] = {}
    for line in _TABLE.strip().splitlines():
        head, _, names = line.partition(":")
        symbol, factor, *bases = head.split()
        parts = [re.fullmatch(r"([A-Za-z]+?)(-?\d)?", base) for base in "".join(bases).split(",")]
        dimension = tuple(sorted((p[1], int(p[2] or 1)) for p in parts if p))
        unit = Unit(factor=float(factor), dimension=dimension)
        units[_CAPITAL.get(symbol, symbol)] = unit
        for name in names.split():
            units.setdefault(name, unit)
        if symbol in _TAKES_PREFIX:
            _add_prefixed(units, _CAPITAL.get(symbol, symbol), names.split(), unit)
    return units


def _add_prefixed(units: dict[str, Unit], symbol: str, names: Sequence[str], unit: Unit) -> None:
    for prefix, size in _SHORT.items():
        scaled = Unit(factor=unit.factor * size, dimension=unit.dimension)
        units.setdefault(prefix + symbol, scaled)
        if "L" in names:
            units.setdefault(f"{prefix}L", scaled)
    for prefix, size in _PREFIXES.items():
        scaled = Unit(factor=unit.factor * size, dimension=unit.dimension)
        for name in names:
            if len(name) > 2:
                units.setdefault(prefix + name, scaled)


def _single(word: str) -> Unit | None:
    units = _units()
    if word in units:
        return units[word]
    # Words may begin with a capital ("Miles"), and "MPH" is mph; symbols keep their case.
    lower = word.casefold()
    found = units.get(lower) if len(word) > 2 else None
    return found if found is not None and math.isfinite(found.factor) else None
