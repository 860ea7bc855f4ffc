"""``eval/pairs.jsonl``: lessons on held-out tasks, alone and taught, one JSON object a line.

Input: ``Lesson``s of all arms. Output: their texts, numbers and verdicts, read back by the claims,
the report and anyone who wants to look at single tasks. A task is stored as ``{"id", "question",
"answer", "family"}``, and ``recorded`` where a session says in which lane, with which confidence
and personas it ran; the rest of its metadata is the verifier's business and stays out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from atlas.data.recorded import RECORDED, facts_in
from atlas.errors import AtlasError
from atlas.json_file import parse_json
from atlas.run.files import write_atomic
from atlas.types import Attempt, Leak, Lesson, Review, StudentTurn, Task, Utterance, Verdict

_LEAK = Leak(kind="recorded", reason="the evaluation found one")
Value = TypeVar("Value", str, int, bool, dict, list)


def write_pairs(path: Path, pairs: Iterable[Lesson]) -> None:
    """Write the pairs to ``path``, whole or not at all; an older file is replaced.

    Args:
        path: Its folder is made where it is missing.
        pairs: In the order to be kept.

    Raises:
        AtlasError: The disk is full.
    """
    lines = [json.dumps(_pair_to_json(pair), ensure_ascii=False) for pair in pairs]
    write_atomic(path, "".join(line + "\n" for line in lines))


def read_pairs(path: Path) -> tuple[Lesson, ...]:
    """Return the pairs in ``path``, in the order of its lines.

    Raises:
        AtlasError: The file is missing or a line can't be read; the message names file and line.
    """
    try:
        # Not splitlines(): a model's answer may hold U+2028 and its like, which JSON keeps raw.
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError as error:
        raise AtlasError(f"{path} isn't there: run the evaluation first") from error
    except OSError as error:
        raise AtlasError(f"{path} can't be read: {error.strerror}") from error
    return tuple(
        _pair_from_json(parse_json(line, f"{path}:{number}"), f"{path}:{number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )


def _pair_to_json(pair: Lesson) -> dict[str, Any]:
    task = pair.task
    facts = {name: value for name, value in facts_in(task).items() if value is not None}
    return {
        "task": {
            "id": task.id,
            "question": task.question,
            "answer": task.answer,
            "family": task.family,
            **({RECORDED: facts} if facts else {}),
        },
        "arm": pair.arm,
        "alone": _attempt_to_json(pair.alone),
        "taught": _attempt_to_json(pair.attempt),
        "approach": pair.approach.text,
        "teaching": pair.teaching.text,
        **({"teaching_thoughts": pair.teaching.thoughts} if pair.teaching.thoughts else {}),
        "num_teaching_tokens": pair.teaching.num_tokens,
        "leaked": pair.leaked,
        **({"reviews": list(map(_review_to_json, pair.reviews))} if pair.reviews else {}),
    }


def _pair_from_json(record: Mapping[str, Any], where: str) -> Lesson:
    return Lesson(
        task=_task_from_json(_field(record, "task", dict, where), where),
        arm=_field(record, "arm", str, where),
        alone=_attempt_from_json(_field(record, "alone", dict, where), f"{where}, alone"),
        attempt=_attempt_from_json(_field(record, "taught", dict, where), f"{where}, taught"),
        approach=Utterance(text=_field(record, "approach", str, where)),
        teaching=Utterance(
            text=_field(record, "teaching", str, where),
            num_tokens=_field(record, "num_teaching_tokens", int, where),
            thoughts=_field({"teaching_thoughts": "", **record}, "teaching_thoughts", str, where),
        ),
        leak=_LEAK if _field(record, "leaked", bool, where) else None,
        reviews=tuple(
            _review_from_json(one, f"{where}, reviews")
            for one in _field({"reviews": [], **record}, "reviews", list, where)
        ),
    )


def _review_to_json(review: Review) -> dict[str, Any]:
    return {
        "attempt": _attempt_to_json(review.attempt),
        "certified": review.certified,
        "readable": review.readable,
        "guidance": review.guidance,
        "tried_again": review.tried_again,
    }


def _review_from_json(record: Mapping[str, Any], where: str) -> Review:
    if not isinstance(record, dict):
        raise AtlasError(f"{where}: must hold objects; evaluate again")
    return Review(
        attempt=_attempt_from_json(_field(record, "attempt", dict, where), where),
        certified=_field(record, "certified", bool, where),
        readable=_field(record, "readable", bool, where),
        guidance=_field(record, "guidance", str, where),
        tried_again=_field(record, "tried_again", bool, where),
    )


def _task_from_json(record: Mapping[str, Any], where: str) -> Task:
    facts = _field({RECORDED: {}, **record}, RECORDED, dict, where)
    task = Task(
        question=_field(record, "question", str, where),
        answer=_field(record, "answer", str, where),
        family=_field(record, "family", str, where),
        metadata={RECORDED: facts} if facts else {},
    )
    stored = _field(record, "id", str, where)
    if stored != task.id:
        raise AtlasError(f"{where}: task id {stored} isn't that of its question ({task.id})")
    return task


def _attempt_to_json(attempt: Attempt) -> dict[str, Any]:
    verdict = attempt.verdict
    return {
        "text": attempt.text,
        **({"thoughts": attempt.thoughts} if attempt.thoughts else {}),
        "correct": attempt.correct,
        "num_tokens": attempt.num_tokens,
        "finished": attempt.finished,
        "parsed": attempt.parsed,
        **({"rule": attempt.verdict.rule} if attempt.verdict.rule else {}),
        **({"unverified": verdict.reason} if verdict.score is None else {}),
        **({"turns": [asdict(turn) for turn in attempt.turns]} if attempt.turns else {}),
        **({"again": list(map(_attempt_to_json, attempt.again))} if attempt.again else {}),
    }


def _attempt_from_json(record: Mapping[str, Any], where: str) -> Attempt:
    correct = _field(record, "correct", bool, where)
    unverified = _field({"unverified": "", **record}, "unverified", str, where)
    return Attempt(
        text=_field(record, "text", str, where),
        thoughts=_field({"thoughts": "", **record}, "thoughts", str, where),
        num_tokens=_field(record, "num_tokens", int, where),
        finished=_field(record, "finished", bool, where),
        verdict=Verdict(
            score=None if unverified else float(correct),
            parsed=_field(record, "parsed", bool, where),
            reason=unverified,
            rule=_field({"rule": "", **record}, "rule", str, where),
        ),
        turns=_turns(_field({"turns": [], **record}, "turns", list, where), where),
        again=tuple(
            _attempt_from_json(one, f"{where}, again")
            for one in _field({"again": [], **record}, "again", list, where)
        ),
    )


def _turns(records: Sequence[Any], where: str) -> tuple[StudentTurn, ...]:
    try:
        return tuple(map(StudentTurn.read, records))
    except (TypeError, AttributeError) as error:
        raise AtlasError(f"{where}: 'turns' must hold a student's turns; evaluate again") from error


def _field(record: Mapping[str, Any], key: str, kind: type[Value], where: str) -> Value:
    if key not in record:
        raise AtlasError(f"{where}: key {key!r} is missing; evaluate again")
    value = record[key]
    if type(value) is not kind:
        raise AtlasError(
            f"{where}: {key!r} must be {kind.__name__}, got {type(value).__name__}; evaluate again"
        )
    return value
