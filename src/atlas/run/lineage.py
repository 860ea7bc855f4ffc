"""Lineage: which sessions a model was trained on, kept beside it.

Input: what a source gave to a training. Output: ``lineage.json`` in the run directory, and in the
model folder, so that a checkpoint that was moved still knows::

    {"format": "atlas.lineage/1",
     "source": "PostgreSQL database atlas on localhost:5433",
     "train": ["17", "4"], "eval": ["9"],
     "num_samples": {"train": 3, "eval": 1},
     "filters": {"min_reward": 0.8, "status_filters": ["succeeded"]},
     "left_out": {"no guidance": 2}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from atlas.errors import AtlasError
from atlas.json_file import read_json
from atlas.run.files import write_atomic

FILE: Final = "lineage.json"
FORMAT: Final = "atlas.lineage/1"

_PARTS: Final = {
    **{"source": str, "train": list, "eval": list},
    **{"num_samples": dict, "filters": dict, "left_out": dict},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """Which sessions were used for what.

    Example: two sessions to learn from, the first in two samples, none to evaluate on:
        >>> lineage = Lineage(source="traces.jsonl", train=("17", "4"), eval=(),
        ...                   num_samples={"train": 3, "eval": 0})
        >>> lineage.filters
        {}
    """

    source: str
    """The file, or the database without its password."""
    train: tuple[str, ...]
    """Ids of the sessions that were learned from."""
    eval: tuple[str, ...]
    """Ids of the sessions that were held out; none of them is in ``train``."""
    num_samples: Mapping[str, int]
    """Side -> examples or prompts; a session may give several."""
    filters: Mapping[str, Any] = field(default_factory=dict)
    """What the sessions were chosen by."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Reason -> how many sessions or samples were not used because of it."""


def lineage_json(lineage: Lineage) -> str:
    """Return the content of ``lineage.json``."""
    document = {
        "format": FORMAT,
        "source": lineage.source,
        "train": list(lineage.train),
        "eval": list(lineage.eval),
        "num_samples": dict(lineage.num_samples),
        "filters": dict(lineage.filters),
        "left_out": dict(lineage.left_out),
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def lineage_files(run_dir: Path) -> dict[str, str]:
    """Return what a model folder keeps of the lineage of its run, by name; nothing without one."""
    file = run_dir / FILE
    return {FILE: file.read_text(encoding="utf-8")} if file.is_file() else {}


def write_lineage(run_dir: Path, lineage: Lineage) -> None:
    """Write ``lineage.json`` into a run directory, whole or not at all.

    Raises:
        AtlasError: The disk is full.
    """
    write_atomic(run_dir / FILE, lineage_json(lineage))


def read_lineage(path: Path | str) -> Lineage:
    """Read the lineage of a run directory or a model folder, or the file itself.

    Raises:
        AtlasError: There is none, or it is of another format.
    """
    path = Path(path)
    file = path / FILE if path.is_dir() else path
    if not file.exists():
        raise AtlasError(
            f"{file} isn't there; name a run directory or model folder of `atlas sft`, "
            "`atlas grpo` or `atlas quickstart`"
        )
    document = read_json(file)
    if document.get("format") != FORMAT:
        raise AtlasError(f"{file} has the format {document.get('format')}; Atlas reads {FORMAT}")
    document.setdefault("left_out", {})
    for name, kind in _PARTS.items():
        if not isinstance(document.get(name), kind):
            raise AtlasError(f"{file} lacks a part of {FORMAT}: {name}")
    ids = [*document["train"], *document["eval"]]
    counts = [*document["num_samples"].values(), *document["left_out"].values()]
    if not (all(isinstance(i, str) for i in ids) and all(type(n) is int for n in counts)):
        raise AtlasError(f"{file} holds an id that is no text, or a count that is no number")
    return Lineage(
        source=document["source"],
        train=tuple(document["train"]),
        eval=tuple(document["eval"]),
        num_samples=document["num_samples"],
        filters=document["filters"],
        left_out=document["left_out"],
    )
