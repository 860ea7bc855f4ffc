"""Configuration, the grammar: what a key is, which values it takes, which keys a job has.

A job's configuration is a frozen dataclass made of parts. Every field is declared with ``key`` (or
``required``, or ``like`` for a key that another job has too), which keeps its documentation and its
limits beside its default. Values are checked and brought to their type whenever such a dataclass is
made, so that one that exists is one that makes sense.
"""

from __future__ import annotations

import difflib
import math
import operator
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any, Literal, Self, TypeVar, Union, cast

from atlas.errors import AtlasError
from atlas.masking import is_masked, mask_secrets
from atlas.yaml_file import parse_yaml

T = TypeVar("T")

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
NULL = ("null", "none", "~")
_FEW = 12
_LONG = 200
_IN_WORDS = {
    **{bool: "true or false", int: "an integer", float: "a number", str: "text"},
    dict: "names with text, numbers, true or false, as in {enable_thinking: false}",
}
_LIMITS = {
    "gt": ("above", operator.gt),
    "ge": ("of at least", operator.ge),
    "lt": ("below", operator.lt),
    "le": ("of at most", operator.le),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyInfo:
    """One key of a job's configuration, as messages and generated documentation need it.

    Example:
        >>> from atlas.config.grpo import GRPOConfig
        >>> keys_of(GRPOConfig)["num_generations"].expected
        'an integer of at least 2'
    """

    name: str
    base: type
    """``bool``, ``int``, ``float``, ``str``, or ``dict`` for names with such values; of the
    elements, where the key holds a list."""
    default: Any
    """``dataclasses.MISSING`` where the user must give a value."""
    doc: str
    limits: Mapping[str, float]
    """``gt``, ``ge``, ``lt`` and ``le``, those that a number has."""
    choices: tuple[str, ...] = ()
    """The only values of a text key, where it has a fixed set."""
    many: bool = False
    """A list, kept as a tuple; never empty."""
    optional: bool = False
    """None is a value."""
    null: str = "null"
    """The word for None: ``auto`` where something else decides then."""
    secret: bool = False
    """An address that may hold a password, which no other key may take over."""

    @property
    def is_required(self) -> bool:
        """The key has no default."""
        return self.default is MISSING

    @property
    def default_text(self) -> str:
        """The default as YAML has it, or that there is none."""
        if self.is_required:
            return "must be given"
        if isinstance(self.default, tuple):
            return f"[{','.join(map(str, self.default))}]"
        if self.default is None or isinstance(self.default, bool):
            return {None: self.null, True: "true", False: "false"}[self.default]
        return str(self.default)

    @property
    def expected(self) -> str:
        """What a value must be, in words that follow "must be"."""
        one = _IN_WORDS[self.base]
        if self.choices:
            one = "one of " + ", ".join(self.choices)
        limits = " and ".join(f"{_LIMITS[name][0]} {value}" for name, value in self.limits.items())
        one = f"{one} {limits}".rstrip()
        one = f"a list, each {one}" if self.many else one
        return f"{one}, or {self.null}" if self.optional else one


def key(default: T, doc: str, *, secret: bool = False, null: str = "null", **limits: float) -> T:
    """Declare a key: its default, what it does and when to change it, and its limits.

    Args:
        secret: It is an address that may hold a password.
        null: The word for None.
    """
    metadata = {"doc": doc, "limits": limits, "secret": secret, "null": null}
    return cast(T, field(default=default, metadata=metadata))


def required(doc: str) -> Any:
    """Declare a key that has no sensible default, so that the user must give it."""
    return field(metadata={"doc": doc, "limits": {}, "secret": False, "null": "null"})


def like(owner: type, name: str, default: T, doc: str = "") -> T:
    """Declare a key with the limits (and, unless given, the doc) of ``owner``'s key ``name``."""
    source = next(f for f in fields(owner) if f.name == name)
    metadata = {**source.metadata, "doc": doc or source.metadata["doc"]}
    return cast(T, field(default=default, metadata=metadata))


class Part:
    """Keys that belong together, as a frozen dataclass that stands alone.

    A job is made of parts: a dataclass that names them as its bases, the most general last, since
    keys are shown from the last to the first. Python can't mix classes with slots.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        """Check every value and bring it to its type.

        Raises:
            AtlasError: A value has the wrong type or is out of its range.
        """
        for name, info in keys_of(type(self)).items():
            object.__setattr__(self, name, convert(info, getattr(self, name)))

    def resolved(self, given: Collection[str], world_size: int) -> Self:
        """Return the part, or the job, with what follows from its other keys filled in.

        `atlas.config.resolve.resolve` calls that of every part; none calls another's.

        Args:
            given: Keys that the user set; a derived value must not contradict one of them.

        Raises:
            AtlasError: Two keys contradict each other.
        """
        del given, world_size
        return self


@cache
def keys_of(config_class: type[Any]) -> Mapping[str, KeyInfo]:
    """Return the keys of a job, or of a section, by name, in the order of their declaration."""
    hints = typing.get_type_hints(config_class)
    return {
        f.name: _key_info(f.name, hints[f.name], f.default, f.metadata)
        for f in fields(config_class)
    }


def convert(info: KeyInfo, value: object, where: str = "") -> Any:
    """Bring a value from YAML, the command line or Python to the type of its key.

    Args:
        value: As parsed; numbers and truth values may come as text.
        where: The file or override that said it, for the message.

    Raises:
        AtlasError: It isn't what ``info.expected`` says.
    """
    if info.optional and (value is None or str(value).lower() in (*NULL, info.null)):
        return None
    if not info.many:
        return _convert_one(info, value, where)
    elements = list(value) if isinstance(value, list | tuple) else [value]
    if not elements:
        raise _wrong(info, value, where)
    return tuple(_convert_one(info, element, where) for element in elements)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest known word, else the known words if few."""
    known = list(known)
    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    matches = matches or [name for name in known if name.endswith(f"_{word}")]
    if matches:
        return "; did you mean " + " or ".join(f"'{match}'" for match in matches) + "?"
    return "; there are: " + ", ".join(known) if 0 < len(known) <= _FEW else ""


def shortened(value: object) -> str:
    """Return a value as a message may show it: passwords masked, and not too long."""
    text = "null" if value is None else mask_secrets(str(value))
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"


def _key_info(name: str, hint: Any, default: Any, metadata: Mapping[str, Any]) -> KeyInfo:
    optional = many = False
    if typing.get_origin(hint) in (Union, types.UnionType):
        (hint,) = [part for part in typing.get_args(hint) if part is not type(None)]
        optional = True
    if typing.get_origin(hint) is tuple:
        hint, many = typing.get_args(hint)[0], True
    if typing.get_origin(hint) is Mapping:
        hint = dict
    choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
    return KeyInfo(
        name=name,
        base=str if choices else hint,
        default=default,
        doc=metadata["doc"],
        limits=metadata["limits"],
        choices=choices,
        many=many,
        optional=optional,
        null=metadata["null"],
        secret=metadata["secret"],
    )


def _convert_one(info: KeyInfo, value: object, where: str) -> Any:
    converted = _typed(info.base, value)
    if converted is None or (info.choices and converted not in info.choices):
        raise _wrong(info, value, where)
    if not all(_LIMITS[name][1](converted, limit) for name, limit in info.limits.items()):
        raise _wrong(info, value, where)
    if isinstance(converted, str) and is_masked(converted):
        raise AtlasError(
            f"the password in {info.name}{f' of {where}' if where else ''} was taken out before it "
            f"was saved; give the whole URL: {info.name}=…"
        )
    return converted


def _typed(base: type, value: object) -> Any:
    """Return ``value`` as ``base``, or None where it isn't one; True is no number, 4.0 no int."""
    if base is dict:
        return _plain_values(value)
    if base is str:
        return value if isinstance(value, str) and value else None
    if base is bool or isinstance(value, bool):
        if isinstance(value, str) and value.lower() in _TRUE + _FALSE:
            return value.lower() in _TRUE
        return value if base is bool and isinstance(value, bool) else None
    try:
        if base is int:
            return int(value) if isinstance(value, int | str) else None
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _plain_values(value: object) -> dict[str, Any] | None:
    """Return names with plain values, in the order of the names; None where it is anything else."""
    if isinstance(value, str):
        try:
            value = parse_yaml(value, "")
        except AtlasError:
            return None
    if not isinstance(value, Mapping) or not value:
        return None
    plain = [isinstance(one, str | bool | int | float) for one in value.values()]
    named = [isinstance(name, str) for name in value]
    return dict(sorted(value.items())) if all(plain + named) else None


def _wrong(info: KeyInfo, value: object, where: str) -> AtlasError:
    shown = f"'{shortened(value)}'" if isinstance(value, str) else shortened(value)
    hint = ""
    if isinstance(value, str) and difflib.get_close_matches(value, info.choices):
        hint = nearest(value, info.choices)
    says = f"{where} says {shown}" if where else f"it is {shown}"
    return AtlasError(f"{info.name} must be {info.expected}, but {says}{hint}")
