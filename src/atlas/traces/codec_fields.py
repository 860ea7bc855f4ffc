"""How a document's fields become attributes, and attributes a document again.

Stage: under ``codec``, which says what the fields are. A JSON object and its ``Fields`` -> the
attributes that it has and ``extra``, the rest; ``pack`` undoes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from atlas.errors import AtlasError
from atlas.session import MISSING, Session, Step

EXTRA_KEY: Final = "atlas_extra"

Record = dict[str, Any]


class MisshapenError(ValueError):
    """A value does not have the shape that its field has; the text says which and where."""


@dataclass(frozen=True, slots=True)
class Field:
    """How one field of a document is read and written."""

    attribute: str
    decode: Callable[[Any], Any]
    key: str = ""
    """The name in the document; empty: the attribute's own."""
    encode: Callable[[Any], Any] | None = None
    """None: written as it is."""


Fields = Mapping[str, Field]
"""The fields of a document by their names in it."""


def fields(*items: Field) -> Fields:
    """Return the fields of a document by their names in it."""
    return {item.key or item.attribute: item for item in items}


def unpack(document: Mapping[str, Any], known: Fields) -> dict[str, Any]:
    """Split a document into the attributes that it has and ``extra``, the rest."""
    values: dict[str, Any] = {}
    rest = values["extra"] = {}
    for name, value in document.items():
        item = known.get(name)
        if item is None:
            rest[name] = value
        elif value is None:
            values[item.attribute] = None
        else:
            try:
                values[item.attribute] = item.decode(value)
            except MisshapenError:
                rest[name] = value
    return values


def pack(source: Any, known: Fields, extra: Mapping[str, Any]) -> Record:
    """Undo ``unpack``.

    Raises:
        AtlasError: ``extra`` holds a field that is also set by its own name.
    """
    document: Record = {}
    for name, item in known.items():
        value = getattr(source, item.attribute)
        if value is not MISSING:
            encode = None if value is None else item.encode
            document[name] = value if encode is None else encode(value)
    if not document.keys().isdisjoint(extra):
        twice = sorted(document.keys() & extra.keys())
        raise AtlasError(f"a session sets {', '.join(twice)} twice: as a field and in its metadata")
    document.update(extra)
    return document


def anything(value: Any) -> Any:
    """Take every value as it is."""
    return value


def of_type(*types: type) -> Callable[[Any], Any]:
    """Return a check that a value is of one of these types, and of no subtype."""
    expected = " or ".join(item.__name__ for item in types)

    def check(value: Any) -> Any:
        if type(value) not in types:
            raise MisshapenError(f"expected {expected}, found {type(value).__name__}")
        return value

    return check


as_text = of_type(str)
_as_number = of_type(int, float)
as_whole = of_type(int)
as_boolean = of_type(bool)
as_object = of_type(dict)


def as_number(value: Any) -> int | float:
    """Read a number; what isn't finite is none, in JSON as here."""
    if isinstance(value, float) and not math.isfinite(value):
        raise MisshapenError(f"expected a number, found {value}")
    return _as_number(value)


def as_items(value: Any) -> tuple[Any, ...]:
    """Read a list."""
    if not isinstance(value, list):
        raise MisshapenError(f"expected list, found {type(value).__name__}")
    return tuple(value)


def as_ids(value: Any) -> tuple[int | str, ...]:
    """Read a list of ids of steps."""
    if any(type(item) not in (int, str) for item in as_items(value)):
        raise MisshapenError("expected ids")
    return tuple(value)


def decoded(build: Callable[..., Any], known: Fields) -> Callable[[Any], Any]:
    """Return the reader of an object with these fields."""
    return lambda value: build(**unpack(as_object(value), known))


def encoded(known: Fields) -> Callable[[Any], Record]:
    """Return the writer of an object with these fields."""
    return lambda value: pack(value, known, value.extra)


def each(decode: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Return the reader of a list of what ``decode`` reads."""
    return lambda value: tuple(decode(item) for item in as_items(value))


def each_back(encode: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    """Return the writer of a list of what ``encode`` writes."""
    return lambda value: [encode(item) for item in value]


def as_instant(value: Any) -> datetime:
    """Read a time: a datetime as it is, else ISO 8601 text; without a zone it is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise MisshapenError(f"{value!r} is no time") from None
    if not isinstance(value, datetime):
        raise MisshapenError(f"expected a time, found {type(value).__name__}")
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def open_metadata(values: dict[str, Any], key: str, known: Fields) -> None:
    """Move the metadata document at ``extra[key]`` into attributes, ``metadata`` and ``extra``."""
    extra = values["extra"]
    document = extra.get(key)
    if document is None:
        extra.pop(key, None)
        values["metadata"] = None
    elif isinstance(document, dict):
        del extra[key]
        found = unpack(document, known)
        rest = found.pop("extra")
        extra.update(take_extra(rest))
        values.update(found)
        values["metadata"] = rest


def close_metadata(source: Session | Step, known: Fields) -> Record | None:
    """Undo ``open_metadata``."""
    document = pack(source, known, source.metadata or {})
    if source.extra:
        document[EXTRA_KEY] = dict(source.extra)
    return document or (None if source.metadata is None else {})


def take_extra(document: Record) -> Record:
    """Take the fields that travel under ``atlas_extra`` out of a document."""
    kept = document.get(EXTRA_KEY)
    return document.pop(EXTRA_KEY) if isinstance(kept, dict) else {}


def no_more_than(record: Mapping[str, Any], names: frozenset[str]) -> None:
    """Refuse a field that has no place to be kept in."""
    if not record.keys() <= names:
        raise MisshapenError(f"unknown field {', '.join(sorted(record.keys() - names))}")
