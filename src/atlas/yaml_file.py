"""YAML, read: the one reader of every YAML file, as a mapping of plain values.

Files come from elsewhere too, so what one may cost is bounded before anything is built of it: its
length, its depth, and its values with those that aliases stand for. Only text, numbers, truth
values, null, lists and mappings are read; dates stay text, and tags are refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from atlas.errors import AtlasError

MAX_BYTES = 200_000
MAX_DEPTH = 20
MAX_VALUES = 20_000
_MAX_DIGITS = 400

UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but for tab and newline, and halves of surrogate pairs."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the content of a file; an empty one has none.

    Raises:
        AtlasError: It can't be read, isn't YAML, holds no mapping, or is too much of one.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise AtlasError(f"{path} can't be read as YAML: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise AtlasError(f"{path} can't be read as YAML: it is longer than {MAX_BYTES:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise AtlasError(f"{path} can't be read as YAML: line {line}: not UTF-8") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Return the content of YAML text.

    Raises:
        AtlasError: As for `read_yaml`.
    """
    try:
        _refuse_too_much(text)
        content = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise AtlasError(f"{where} can't be read as YAML: {_reason(error)}") from error
    if content is not None and not isinstance(content, dict):
        raise AtlasError(f"{where} must hold keys and values, as in `seed: 1`")
    return content or {}


class _Loader(yaml.SafeLoader):
    """Keys are text and stand once; what Python can't make of a value names its place."""

    def construct_scalar(self, node: Any) -> Any:
        text = super().construct_scalar(node)
        # JSON writes a character beyond the first 65,536 as a pair of escapes.
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        if UNPRINTABLE.search(whole):
            raise _refused(node, "a control character or half of a surrogate pair")
        return whole

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag not in (_TEXT, _MERGE):
                raise _refused(key, "a key must be text; put it in quotes")
            if key.tag == _TEXT and key.value in seen:
                raise _refused(key, f"found duplicate key {key.value}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: Any) -> int | str:
        if ":" in node.value:  # a time of day, which YAML 1.1 takes for a number to the base 60
            return node.value
        if len(node.value) > _MAX_DIGITS:
            raise _refused(node, "a number is too long")
        return self.construct_yaml_int(node)


_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_DATE = "tag:yaml.org,2002:timestamp"
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _DATE]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _refuse_too_much(text: str) -> None:
    """Walk through the text, building nothing, and refuse what would grow beyond the limits."""
    sizes: dict[str | None, int] = {}  # of anchored values that have ended
    open_nodes: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        anchor = getattr(event, "anchor", None)
        if getattr(event, "tag", None) is not None:
            raise _refused(event, f"the tag {event.tag} isn't understood; leave it out")
        if isinstance(event, yaml.CollectionEndEvent):
            closed, before = open_nodes.pop()
            sizes[closed] = total - before
        elif isinstance(event, yaml.CollectionStartEvent):
            sizes.pop(anchor, None)
            open_nodes.append((anchor, total))
            total += 1
        elif isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.ScalarEvent):
                sizes[anchor] = 1
            if anchor not in sizes:
                raise _refused(event, f"*{anchor} stands for nothing that has ended before it")
            total += sizes[anchor]
        if len(open_nodes) > MAX_DEPTH or total > MAX_VALUES:
            limits = f"{MAX_DEPTH} levels deep, or than {MAX_VALUES:,} values with those of aliases"
            raise _refused(event, f"more than {limits}")


def _refused(place: Any, reason: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=reason, problem_mark=place.start_mark)


def _reason(error: yaml.YAMLError) -> str:
    """Return place and problem, without the line itself: it may hold a password."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        return f"{place}{error.problem or error.context}"
    return " ".join(str(error).split())
