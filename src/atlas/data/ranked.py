"""Prompts with ranked responses: the data that a model from random weights learns from.

Input and output: a JSON file with a list of records (or a JSONL file with one a line)::

    {"prompt": "Calculate 2 + 3 * 4.",
     "responses": [{"text": "3 * 4 = 12. 2 + 12 = 14. Answer: 14", "rank": 1},
                   {"text": "2 + 3 = 5. 5 * 4 = 20. Answer: 20", "rank": 2}],
     "task": {"family": "basic_arithmetic", "answer": "14", "metadata": {}}}

``rank`` 1 is the best; ``score`` may stand in its place, where higher is better. The loss reads
the differences between scores, so scores are kept as they came, and rank n is the score -n. The
whole format is the JSON Schema in ``schemas/ranked.schema.json``.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from atlas.errors import AtlasError
from atlas.json_file import json_value
from atlas.run.files import replacing, through_links
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
    are_ranks: bool = False
    """Whether the data says ranks: only their order is known, and they are written as ranks."""
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

    def as_ranks(self) -> RankedRecord:
        """Return the record with ranks in place of its scores."""
        return replace(self, scores=tuple(-float(rank) for rank in self.ranks), are_ranks=True)

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


def read_ranked(
    path: str | Path, *, where_missing: str = "python prepare_grpo_data.py makes it"
) -> list[RankedRecord]:
    """Read a file of records.

    Args:
        path: JSON, or JSONL where it ends in ``.jsonl``.
        where_missing: What to do where there is no such file.

    Raises:
        AtlasError: The file can't be read, holds no record, or a record is broken; the text names
            it by its index, counted from 0, in JSONL by its line, too, and says why.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise AtlasError(f"{path} isn't there; {where_missing}") from error
    except IsADirectoryError as error:
        raise AtlasError(f"{path} is a folder; give a JSON or JSONL file in it") from error
    except OSError as error:
        raise AtlasError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _no_text(path, error.object) from error
    if "\0" in text:
        raise _no_text(path, text.encode())
    if not text.strip():
        raise AtlasError(f"{path} is empty; it must hold at least one record")
    items = _lines(path, text) if path.suffix == ".jsonl" else _list(path, text)
    return [_record(item, where) for where, item in items]


def write_ranked(path: str | Path, records: Sequence[RankedRecord]) -> None:
    """Write records as a JSON list, one a line, whole or not at all.

    Raises:
        AtlasError: The disk is full.
    """
    output = through_links(Path(path))
    with replacing(output) as temporary, temporary.open("w", encoding="utf-8") as file:
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


def one_a_prompt(records: Iterable[RankedRecord]) -> tuple[list[RankedRecord], Counter[str]]:
    """Return one record a prompt, and what became of those that repeat one, to be printed.

    Scores of two records are on one scale, as long as they don't contradict each other: their
    responses are joined. Ranks say nothing of the responses of another record: the first one stays.

    Returns:
        The records, each at the place of the first with its prompt, and how many others had which
        fate.
    """
    kept: dict[str, RankedRecord] = {}
    fates: Counter[str] = Counter()
    for record in records:
        first = kept.get(record.prompt)
        if first is None:
            kept[record.prompt] = record
        else:
            kept[record.prompt], fate = _joined(first, record)
            fates[fate] += 1
    return list(kept.values()), fates


def num_unranked(records: Iterable[RankedRecord]) -> int:
    """Return in how many records nothing is ranked: they have one response, or only ties.

    Such a record has no pair, so only the first term of the loss learns from it.
    """
    return sum(len(set(record.scores)) < 2 for record in records)


def _joined(first: RankedRecord, second: RankedRecord) -> tuple[RankedRecord, str]:
    """Return the first record, with what the second adds to it, and the second's fate."""
    known = dict(zip(first.responses, first.scores, strict=True))
    said = dict(zip(second.responses, second.scores, strict=True))
    same_kind = first.are_ranks == second.are_ranks
    same_task = None in (first.task, second.task) or first.task == second.task
    if same_kind and same_task and said.items() <= known.items():
        return replace(first, task=first.task or second.task), (
            "records repeat what an earlier one says: left out"
        )
    if first.are_ranks or second.are_ranks:
        return first, (
            "records repeat a prompt, and ranks of two records can't be compared: left out, the "
            "first one stays"
        )
    if not same_task or any(known.get(text, score) != score for text, score in said.items()):
        return first, (
            "records repeat a prompt and contradict the score or the task that it had: left out, "
            "the first one stays"
        )
    new = [k for k, text in enumerate(second.responses) if text not in known]
    kinds = bool(first.kinds and second.kinds)
    return replace(
        first,
        responses=(*first.responses, *(second.responses[k] for k in new)),
        scores=(*first.scores, *(second.scores[k] for k in new)),
        kinds=(*first.kinds, *(second.kinds[k] for k in new)) if kinds else (),
        task=first.task or second.task,
    ), "records repeat a prompt: their responses are joined to the first one's"


def _no_text(path: Path, content: bytes) -> AtlasError:
    start = content[:4]
    # UTF-16 without its mark: ASCII, as JSON begins, with a zero beside it.
    wide = start.startswith((b"\xff\xfe", b"\xfe\xff")) or start.count(0) == 2
    what = (
        "UTF-16 text; save it as UTF-8" if wide else "no text; give a JSON or JSONL file in UTF-8"
    )
    return AtlasError(f"{path} is {what}")


def _list(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """Yield the items of a JSON list, with their places."""
    try:
        items = _parsed(text)
    except ValueError as error:
        hint = "; a file with one record a line must be called .jsonl"
        also = hint if "Extra data" in str(error) else ""
        raise AtlasError(f"{path} is no JSON: {error}{also}") from error
    if not isinstance(items, list) or not items:
        raise AtlasError(f"{path} must hold a list with at least one record")
    for index, item in enumerate(items):
        yield f"{path}, record {index}", item


def _lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """Yield the items of JSONL, with their places."""
    # Not splitlines(): a response may hold U+2028 and its like, which JSON keeps raw.
    numbered = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    for index, (number, line) in enumerate(numbered):
        where = f"{path}, record {index} (line {number})"
        try:
            item = _parsed(line)
        except ValueError as error:
            raise AtlasError(f"{where}: no JSON: {error}") from error
        yield where, item


def _parsed(text: str) -> Any:
    """Parse JSON, with control characters that somebody wrote raw into a string."""
    return json_value(text, object, strict=False)


@cache
def _validator() -> Draft202012Validator:
    text = files("atlas.data").joinpath("schemas/ranked.schema.json").read_text("utf-8")
    schema = json_value(text)
    return Draft202012Validator({"$ref": "#/$defs/record", "$defs": schema["$defs"]})


def _record(item: Any, where: str) -> RankedRecord:
    error = best_match(_validator().iter_errors(item))
    if error is not None:
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
        raise AtlasError(f"{where}{place and f', {place[1:]}'}: {_short(error.message)}")
    responses = item["responses"]
    scores = tuple(_scores(responses, where))
    _refuse_contradiction(responses, scores, where)
    task = item.get("task")
    return RankedRecord(
        prompt=item["prompt"],
        responses=tuple(response["text"] for response in responses),
        scores=scores,
        are_ranks="rank" in responses[0],
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
        try:
            value = float(response[name])
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise AtlasError(f"{where}, responses[{index}]: the {name} must be finite")
        yield -value if name == "rank" else value


def _refuse_contradiction(
    responses: Sequence[Mapping[str, Any]], scores: Sequence[float], where: str
) -> None:
    first: dict[str, int] = {}
    for index, response in enumerate(responses):
        before = first.setdefault(response["text"], index)
        if scores[before] != scores[index]:
            name = "rank" if "rank" in response else "score"
            raise AtlasError(
                f"{where}, responses[{index}]: the same text as responses[{before}] with another "
                f"{name}; leave one of them out"
            )


def _plain(record: RankedRecord) -> dict[str, Any]:
    responses: list[dict[str, Any]] = [
        {"text": text, "rank": int(-score)} if record.are_ranks else {"text": text, "score": score}
        for text, score in zip(record.responses, record.scores, strict=True)
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
