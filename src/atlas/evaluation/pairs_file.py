"""``eval/pairs.jsonl``: paired outcomes on disk, one JSON object a line.

Input: ``PairedOutcome`` of all arms. Output: the same, read back by the claims, the report and
anyone who wants to look at single tasks. A task is stored as ``{"id", "question", "answer",
"family"}``; its metadata is the verifier's business and stays out, for the verdict is in the
outcomes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from atlas.errors import AtlasError
from atlas.run.files import write_atomic
from atlas.types import Outcome, PairedOutcome, Task

Value = TypeVar("Value", str, int, bool, dict)


def write_pairs(path: Path, pairs: Iterable[PairedOutcome]) -> None:
    """Write the pairs to ``path``, whole or not at all; an older file is replaced.

    Args:
        path: Its folder is made where it is missing.
        pairs: In the order to be kept.

    Raises:
        AtlasError: The disk is full.
    """
    lines = [json.dumps(_pair_to_json(pair), ensure_ascii=False) for pair in pairs]
    write_atomic(path, "".join(line + "\n" for line in lines))


def read_pairs(path: Path) -> tuple[PairedOutcome, ...]:
    """Return the pairs in ``path``, in the order of its lines.

    Raises:
        AtlasError: The file is missing or a line can't be read; the message names file and line.
    """
    try:
        # Not splitlines(): a model's answer may hold U+2028 and its like, which JSON keeps raw.
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise AtlasError(f"{path} isn't there: run the evaluation first") from error
    except UnicodeDecodeError as error:
        raise AtlasError(f"{path} isn't UTF-8 text ({error}); evaluate again") from error
    return tuple(
        _read_line(line, f"{path}:{number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )


def _read_line(line: str, where: str) -> PairedOutcome:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise AtlasError(f"{where} isn't JSON ({error.msg}); evaluate again") from error
    if not isinstance(record, dict):
        raise AtlasError(f"{where} isn't a JSON object; evaluate again")
    return _pair_from_json(record, where)


def _pair_to_json(pair: PairedOutcome) -> dict[str, Any]:
    task = pair.task
    return {
        "task": {
            "id": task.id,
            "question": task.question,
            "answer": task.answer,
            "family": task.family,
        },
        "arm": pair.arm,
        "alone": _outcome_to_json(pair.alone),
        "taught": _outcome_to_json(pair.taught),
        "approach": pair.approach,
        "teaching": pair.teaching,
        "num_teaching_tokens": pair.num_teaching_tokens,
        "leaked": pair.leaked,
    }


def _pair_from_json(record: Mapping[str, Any], where: str) -> PairedOutcome:
    return PairedOutcome(
        task=_task_from_json(_field(record, "task", dict, where), where),
        arm=_field(record, "arm", str, where),
        alone=_outcome_from_json(_field(record, "alone", dict, where), f"{where}, alone"),
        taught=_outcome_from_json(_field(record, "taught", dict, where), f"{where}, taught"),
        approach=_field(record, "approach", str, where),
        teaching=_field(record, "teaching", str, where),
        num_teaching_tokens=_field(record, "num_teaching_tokens", int, where),
        leaked=_field(record, "leaked", bool, where),
    )


def _task_from_json(record: Mapping[str, Any], where: str) -> Task:
    task = Task(
        question=_field(record, "question", str, where),
        answer=_field(record, "answer", str, where),
        family=_field(record, "family", str, where),
    )
    stored = _field(record, "id", str, where)
    if stored != task.id:
        raise AtlasError(f"{where}: task id {stored} isn't that of its question ({task.id})")
    return task


def _outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "text": outcome.text,
        "correct": outcome.correct,
        "num_tokens": outcome.num_tokens,
        "finished": outcome.finished,
        "parsed": outcome.parsed,
        **({"unverified": outcome.unverified} if outcome.unverified else {}),
    }


def _outcome_from_json(record: Mapping[str, Any], where: str) -> Outcome:
    return Outcome(
        text=_field(record, "text", str, where),
        correct=_field(record, "correct", bool, where),
        num_tokens=_field(record, "num_tokens", int, where),
        finished=_field(record, "finished", bool, where),
        parsed=_field(record, "parsed", bool, where),
        unverified=_field({"unverified": "", **record}, "unverified", str, where),
    )


def _field(record: Mapping[str, Any], key: str, kind: type[Value], where: str) -> Value:
    if key not in record:
        raise AtlasError(f"{where}: key {key!r} is missing; evaluate again")
    value = record[key]
    if type(value) is not kind:
        raise AtlasError(
            f"{where}: {key!r} must be {kind.__name__}, got {type(value).__name__}; evaluate again"
        )
    return value
