"""What a judge says, and how it is read: a reply's text -> a `JudgeVerdict`, or why there is none.

A verdict counts only if it repeats the nonce of its call, which stands in no judged text. So a
model that copies what it judges, a verdict in it included, has given none. No number is ever put in
the place of a verdict that can't be read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from atlas.json_file import finite, whole

_THINKING = re.compile(r"\A.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_TRAILING_COMMA = re.compile(r",(?=\s*[}\]])")
_MAX_FAILED = 100
"""Braces that begin no object, after which the rest of a reply isn't searched any more."""
_NUMBERS = ("score", "uncertainty")


@dataclass(frozen=True, kw_only=True, slots=True)
class Principle:
    """What a judge held the text against."""

    name: str
    weight: float
    """Share of the score; a verdict's weights add up to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeVerdict:
    """What one judge says about one text.

    Example:
        >>> text = '''{"nonce": "a1", "principles": [{"name": "right", "weight": 3},
        ...     {"name": "clear", "weight": 1}], "rationale": "Right, but terse.",
        ...     "score": 0.8, "uncertainty": 0.1}'''
        >>> verdict = read_verdict(text, nonce="a1")
        >>> verdict.score, verdict.principles[0].weight
        (0.8, 0.75)
    """

    principles: tuple[Principle, ...]
    score: float
    """0 to 1."""
    rationale: str
    uncertainty: float
    """0 to 1, by the judge's own account."""


class UnreadableError(ValueError):
    """A reply holds no verdict that counts."""


def verdict_schema() -> dict[str, Any]:
    """Return the JSON schema of a verdict, in the subset that strict structured output takes.

    It is the same for every call, since endpoints compile a new schema for seconds.
    """
    share = {"type": "number", "minimum": 0, "maximum": 1}
    principle = _object({"name": {"type": "string"}, "weight": share})
    return _object(
        {
            "nonce": {"type": "string"},
            "principles": {"type": "array", "items": principle, "minItems": 2, "maxItems": 3},
            "rationale": {"type": "string"},
            "score": share,
            "uncertainty": share,
        }
    )


def read_verdict(text: str, *, nonce: str) -> JudgeVerdict:
    """Read a reply, with or without prose, code fences and thinking around the verdict.

    Args:
        nonce: Of this call.

    Raises:
        UnreadableError: No object repeats the nonce, two that do differ, or a value is wrong.
    """
    foreign = False
    for version in _versions(text):
        objects = list(_objects(version))
        own = [found for found in objects if found.get("nonce") == nonce]
        if any(found != own[0] for found in own):
            raise UnreadableError("the reply holds verdicts that contradict each other")
        if own:
            return checked_verdict(own[0])
        foreign = foreign or any("score" in found for found in objects)
    says = "a verdict without the call's nonce" if foreign else "no JSON object with a verdict"
    raise UnreadableError(f"the reply holds {says}")


def checked_verdict(found: dict[str, Any]) -> JudgeVerdict:
    """Return what an object says as a verdict.

    Raises:
        UnreadableError: A value is missing or wrong.
    """
    said = {**found, **{name: _number(found.get(name)) for name in _NUMBERS}}
    error = best_match(_tolerant().iter_errors(said))
    if error is not None:
        place = ".".join(map(str, error.absolute_path)) or "the verdict"
        raise UnreadableError(f"{place}: {error.message}"[:200])
    weights = [float(item["weight"]) for item in said["principles"]]
    if sum(weights) <= 0:
        raise UnreadableError("principles: all weights are 0")
    return JudgeVerdict(
        principles=tuple(
            Principle(name=_writable(item["name"]), weight=weight / sum(weights))
            for item, weight in zip(said["principles"], weights, strict=True)
        ),
        score=float(said["score"]),
        rationale=_writable(said["rationale"]).strip(),
        uncertainty=float(said["uncertainty"]),
    )


def _versions(text: str) -> Iterator[str]:
    """Yield what follows the thinking, all of it, and both with the usual slip mended."""
    versions = (_THINKING.sub("", text), text)
    yield from versions
    yield from (_TRAILING_COMMA.sub("", version) for version in versions)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a text, outermost ones only."""
    decoder = json.JSONDecoder(
        parse_float=finite,
        parse_int=whole,
        parse_constant=_refuse_constant,
        object_pairs_hook=_without_duplicates,
    )
    position, num_failed = text.find("{"), 0
    while position >= 0 and num_failed < _MAX_FAILED:
        try:
            found, end = decoder.raw_decode(text, position)
        except RecursionError:
            return
        except ValueError:
            position, num_failed = text.find("{", position + 1), num_failed + 1
            continue
        yield found
        position = text.find("{", end)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _writable(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can spell and no file or log can hold."""
    return text.encode("utf-8", "replace").decode()


def _number(value: object) -> object:
    """Return a number that was written as text as a number; anything else as it is."""
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return value
        return number if math.isfinite(number) else value
    return value


@cache
def _tolerant() -> Draft202012Validator:
    """The schema as replies are held to: more keys may be there, and weights need not be shares."""
    schema = verdict_schema()
    schema["additionalProperties"] = True
    principle = schema["properties"]["principles"]["items"]
    principle["additionalProperties"] = True
    principle["properties"]["weight"] = {"type": "number", "minimum": 0}
    schema["properties"]["rationale"] = {"type": "string", "pattern": r"\S"}
    return Draft202012Validator(schema)


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
