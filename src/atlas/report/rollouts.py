"""Report: every rollout of a run -> chunks of columns, small enough to travel in the page.

Input: the tables of a GRPO run and the pairs of an evaluation. Output: `Chunk`s as JSON::

    {"where": "training", "run": 0, "count": 128, "texts": ["Calculate …", …],
     "columns": {"step": [1, 1, …], "question": {"text": [0, 0, …]}, …}}

A text is kept once a chunk, and named by its place in ``texts``: a group shares its question. What
both places call by different names has one name here; a column that is known to neither is taken as
it is, so that the page shows what a newer table has.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from atlas.errors import AtlasError
from atlas.json_file import parse_json
from atlas.report.transcripts import kind_of
from atlas.run.rollouts import kept_steps, step_rows
from atlas.types import Attempt, Lesson, StudentTurn

Chunk = Mapping[str, Any]
CHUNK_ROWS: Final = 8192
_NAMES: Final = {
    **{"baseline": "alone", "baseline_right": "right_alone", "attempt_right": "right"},
    **{"completion": "teaching", "completion_tokens": "teaching_tokens"},
    "baseline_turns": "alone_turns",
}


def training_chunks(
    folder: Path, problems: list[str], *, run: int = 0, after: int = 0
) -> Iterator[Chunk]:
    """Yield the rollouts of a training, some steps a chunk.

    Args:
        folder: Of the tables.
        problems: Takes a line for each table that can't be read.
        run: Place of the run, where several are shown.
        after: Steps up to this one are left out.
    """
    rows: list[Mapping[str, Any]] = []
    for step in kept_steps(folder):
        if step <= after:
            continue
        try:
            rows += (_training_row({"step": step, **row}) for row in step_rows(folder, step))
        except AtlasError as error:
            problems.append(str(error))
        if len(rows) >= CHUNK_ROWS:
            yield _chunk("training", run, rows)
            rows = []
    if rows:
        yield _chunk("training", run, rows)


def pair_chunks(pairs: Sequence[Lesson], *, run: int = 0) -> Iterator[Chunk]:
    """Yield the pairs of an evaluation."""
    for start in range(0, len(pairs), CHUNK_ROWS):
        rows = [_pair_row(pair) for pair in pairs[start : start + CHUNK_ROWS]]
        yield _chunk("held out", run, rows)


def packed(chunks: Iterable[Any]) -> list[str]:
    """Return each chunk as gzip in base64: what a browser unpacks by itself."""
    return [base64.b64encode(gzip.compress(_json(chunk), 6, mtime=0)).decode() for chunk in chunks]


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode()


def _training_row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    named = {_NAMES.get(name, name): value for name, value in row.items()}
    for name in {"alone_turns", "attempt_turns"} & named.keys():
        named[name] = _kept_turns(named[name])
    leaked = bool(named.get("leaked") or named.get("part_leaked"))
    uplift = named.get("part_uplift")
    if uplift is None and named.get("right") is not None:
        uplift = named["right"] - (named.get("right_alone") or 0)
    kind = "abstained" if named.get("reward") is None else "leaked" if leaked else ""
    if not kind and uplift is not None:
        kind = "helped" if uplift > 0 else "harmed" if uplift < 0 else _unmoved(named.get("right"))
    return {**named, "kind": kind, "truncated": bool(named.get("truncated"))}


def _unmoved(right: float | None) -> str:
    """Return what a teaching did that changed nothing; of older tables that isn't known."""
    if right is None:
        return "no change"
    return "right anyway" if right >= 1 else "still wrong"


def _pair_row(pair: Lesson) -> Mapping[str, Any]:
    told = pair.attempt.verdict.score is not None and pair.alone.verdict.score is not None
    return {
        "arm": pair.arm,
        "task_id": pair.task.id,
        "family": pair.task.family,
        "kind": kind_of(pair) if told else "abstained",
        "truncated": not pair.attempt.finished,
        "question": pair.task.question,
        "answer": pair.task.answer,
        **_attempt("alone", pair.alone),
        "approach": pair.approach.text,
        "thoughts": pair.teaching.thoughts,
        "teaching": pair.teaching.text,
        "teaching_tokens": pair.teaching.num_tokens,
        **_attempt("attempt", pair.attempt),
        "reviews": [
            {"attempt": one.attempt.text, "certified": one.certified, "guidance": one.guidance}
            for one in pair.reviews
        ]
        or None,
    }


def _attempt(name: str, said: Attempt) -> Mapping[str, Any]:
    again = {"alone": "right_alone", "attempt": "right"}[name]
    return {
        name: said.text,
        again: said.right if said.told else None,
        f"{name}_turns": _acted(said.turns),
        f"{name}_tokens": said.tokens,
        f"{name}_thoughts": said.thoughts,
        f"{name}_read_by": said.verdict.rule,
        f"{name}_abstained": said.abstained,
        f"{name}_attempts": len(said.again) + 1 if said.again else None,
    }


def _kept_turns(kept: Any) -> str | None:
    """Return the turns of a table's cell as they are read; what is no list of them stays as is."""
    try:
        return _acted([StudentTurn.read(turn) for turn in parse_json(kept, "turns", list)])
    except (AtlasError, AttributeError, TypeError, ValueError):
        return kept


def _acted(turns: Iterable[StudentTurn]) -> str | None:
    """Return what a student did with its tools, a line a step; None where it had none."""
    lines: list[str] = []
    for turn in turns:
        lines += [f"Teacher: {turn.guidance}"] if turn.guidance else []
        lines += [turn.text] if turn.text else []
        for call in turn.calls:
            result = f"failed: {call.result}" if call.failed else call.result
            lines += [f"{call.name} {call.arguments}", f"  → {result}"]
    return "\n".join(lines) or None


def _chunk(where: str, run: int, rows: Sequence[Mapping[str, Any]]) -> Chunk:
    texts: dict[str, int] = {}
    columns: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [_plain(row.get(name)) for row in rows]
        if any(isinstance(value, str) for value in values):
            places = [
                None if value in (None, "") else texts.setdefault(str(value), len(texts))
                for value in values
            ]
            columns[name] = {"text": places}
        elif any(value is not None for value in values):
            columns[name] = values
    return {
        **{"where": where, "run": run, "count": len(rows)},
        **{"texts": list(texts), "columns": columns},
    }


def _plain(value: Any) -> Any:
    """Return a cell as a number, a truth value or text; what has parts is text, laid out."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return json.dumps(value, ensure_ascii=False, indent=1, default=str)
