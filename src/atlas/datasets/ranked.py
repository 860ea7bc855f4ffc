"""Prompts with ranked responses: the data that a model from random weights learns from.

Input and output: a JSON file with a list of records (or a JSONL file with one a line)::

    {"prompt": "Calculate 2 + 3 * 4.",
     "responses": [{"text": "3 * 4 = 12. 2 + 12 = 14. Answer: 14", "rank": 1},
                   {"text": "2 + 3 = 5. 5 * 4 = 20. Answer: 20", "rank": 2}],
     "task": {"family": "basic_arithmetic", "answer": "14", "metadata": {}}}

``rank`` 1 is the best; ``score`` may stand in its place, where higher is better. The whole
format is the JSON Schema in ``schemas/ranked.schema.json``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from atlas.errors import AtlasError
from atlas.runtime.files import replacing
from atlas.types import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedRecord:
    """One prompt with its K responses.

    Example: a right answer before a wrong one:
        >>> record = RankedRecord(prompt="1 + 1?", responses=("2", "3"), scores=(-1.0, -2.0))
        >>> record.ranks
        (1, 2)
    """

    prompt: str
    responses: tuple[str, ...]
    """[K]."""
    scores: tuple[float, ...]
    """[K] higher is better; minus the rank where the data says ranks."""
    kinds: tuple[str, ...] = ()
    """[K] how each response was made, for people; empty where nobody said."""
    task: Task | None = None
    """What verifies an answer; None where none can be."""
    source: str = ""
    """Where the record came from, such as a session's id."""

    @property
    def ranks(self) -> tuple[int, ...]:
        """[K] ranks from 1, the best; equal scores share a rank and none is skipped."""
        places = {score: place for place, score in enumerate(sorted(set(self.scores))[::-1], 1)}
        return tuple(places[score] for score in self.scores)

    def at_most(self, count: int) -> RankedRecord:
        """Return the record with ``count`` of its responses, at least 2: the best, the worst, and
        those between them spread evenly; the best first.
        """
        total = len(self.responses)
        if total <= count:
            return self
        order = sorted(range(total), key=lambda k: -self.scores[k])
        kept = [order[round(i * (total - 1) / (count - 1))] for i in range(count)]
        return replace(
            self,
            responses=tuple(self.responses[k] for k in kept),
            scores=tuple(self.scores[k] for k in kept),
            kinds=tuple(self.kinds[k] for k in kept) if self.kinds else (),
        )


def read_ranked(path: str | Path) -> list[RankedRecord]:
    """Read a file of records.

    Raises:
        AtlasError: The file can't be read, holds no record, or a record is broken; the text names
            it by its index, counted from 0, and says why.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        items = _lines(text) if path.suffix == ".jsonl" else json.loads(text)
    except FileNotFoundError as error:
        raise AtlasError(f"{path} isn't there; python prepare_grpo_data.py makes it") from error
    except OSError as error:
        raise AtlasError(f"{path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise AtlasError(f"{path} is no JSON: {error}") from error
    if not isinstance(items, list) or not items:
        raise AtlasError(f"{path} must hold a list with at least one record")
    return [_record(item, f"{path}, record {index}") for index, item in enumerate(items)]


def write_ranked(path: str | Path, records: Sequence[RankedRecord]) -> None:
    """Write records as a JSON list, one a line, whole or not at all.

    Raises:
        AtlasError: The disk is full.
    """
    with replacing(Path(path)) as temporary, temporary.open("w", encoding="utf-8") as file:
        for index, record in enumerate(records):
            file.write("[\n" if index == 0 else ",\n")
            file.write(json.dumps(_plain(record), ensure_ascii=False))
        file.write("\n]\n" if records else "[]\n")


def check_no_shared_prompt(
    train: Sequence[RankedRecord], validation: Sequence[RankedRecord]
) -> None:
    """Raise AtlasError where a prompt is in both sets; the first is named."""
    shared = {record.prompt for record in train} & {record.prompt for record in validation}
    if shared:
        raise AtlasError(
            f"{len(shared)} prompts are in the training and in the validation data, "
            f"{min(shared)!r} first; take them out of one"
        )


def _lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


@cache
def _validator() -> Draft202012Validator:
    text = files("atlas.datasets").joinpath("schemas/ranked.schema.json").read_text("utf-8")
    schema = json.loads(text)
    return Draft202012Validator({"$ref": "#/$defs/record", "$defs": schema["$defs"]})


def _record(item: Any, where: str) -> RankedRecord:
    error = best_match(_validator().iter_errors(item))
    if error is not None:
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
        raise AtlasError(f"{where}{place and f', {place[1:]}'}: {_short(error.message)}")
    responses = item["responses"]
    task = item.get("task")
    return RankedRecord(
        prompt=item["prompt"],
        responses=tuple(response["text"] for response in responses),
        scores=tuple(_scores(responses, where)),
        kinds=tuple(r["kind"] for r in responses) if all("kind" in r for r in responses) else (),
        task=task and Task(question=item["prompt"], **task),
        source=item.get("source", ""),
    )


def _scores(responses: Sequence[Mapping[str, Any]], where: str) -> Iterator[float]:
    said = {name for response in responses for name in ("rank", "score") if name in response}
    if len(said) != 1:
        what = "both ranks and scores" if said else "neither a rank nor a score"
        raise AtlasError(f"{where}: its responses have {what}; give each a rank, or each a score")
    (name,) = said
    for index, response in enumerate(responses):
        if name not in response:
            raise AtlasError(f"{where}, responses[{index}]: no {name}, as the others have")
        value = float(response[name])
        if not math.isfinite(value):
            raise AtlasError(f"{where}, responses[{index}]: the score must be finite")
        yield -value if name == "rank" else value


def _plain(record: RankedRecord) -> dict[str, Any]:
    responses = [
        {"text": text, "rank": rank}
        for text, rank in zip(record.responses, record.ranks, strict=True)
    ]
    for response, kind in zip(responses, record.kinds, strict=False):
        response["kind"] = kind
    plain: dict[str, Any] = {"prompt": record.prompt, "responses": responses}
    if record.task is not None:
        task = record.task
        plain["task"] = {
            "family": task.family,
            "answer": task.answer,
            "metadata": dict(task.metadata),
        }
    return plain | ({"source": record.source} if record.source else {})


def _short(message: str) -> str:
    return message if len(message) <= 200 else f"{message[:200]} …"
