"""Session <-> record: the one place that knows what each field is called in a document.

Stage: between the stores and the typed session. A *record* is a JSON object; one line of a JSONL
file is one, and the database's rows are put together to one::

    id, task, status, final_answer, review_status, review_notes, created_at, completed_at,
    student_learning, teacher_learning                       columns of ``sessions``
    plan, session_reward, reward_stats, reward_audit, session_metadata    JSON documents
    steps: [{step_id, trace, output, evaluation, attempts, metadata, has_result,
             attempt_details: [{attempt, evaluation}], guidance: [{sequence, note}]}]
    trajectory_events: [{id, event, created_at}]

The names are those of the Atlas SDK's export. A field of a document that is absent becomes
``MISSING`` and is left out again; one with an unexpected shape, or unknown, goes to ``extra``.
What stands in ``extra`` of a session or a step has no column, so it travels in its metadata
under ``atlas_extra``. ``session_from_record(session_to_record(s)) == s`` for every session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from atlas.errors import AtlasError
from atlas.session import (
    MISSING,
    AdaptiveSummary,
    GuidanceNote,
    JudgeVerdict,
    Plan,
    PlanStep,
    Session,
    SessionReward,
    Step,
    StepAttempt,
    StepEvaluation,
    TrajectoryEvent,
)

EXTRA_KEY: Final = "atlas_extra"

Record = dict[str, Any]


class MisshapenError(ValueError):
    """A value does not have the shape that its field has; the text says which and where."""


@dataclass(frozen=True, slots=True)
class _Field:
    """How one field of a document is read and written."""

    attribute: str
    decode: Callable[[Any], Any]
    key: str = ""
    """The name in the document; empty: the attribute's own."""
    encode: Callable[[Any], Any] | None = None
    """None: written as it is."""


def _unpack(document: Mapping[str, Any], fields: tuple[_Field, ...]) -> dict[str, Any]:
    """Split a document into the attributes that it has and ``extra``, the rest."""
    rest = dict(document)
    values: dict[str, Any] = {}
    for item in fields:
        name = item.key or item.attribute
        if name not in rest:
            continue
        value = rest[name]
        try:
            values[item.attribute] = None if value is None else item.decode(value)
        except MisshapenError:
            continue
        del rest[name]
    values["extra"] = rest
    return values


def _pack(source: Any, fields: tuple[_Field, ...], extra: Mapping[str, Any]) -> Record:
    """Undo ``_unpack``.

    Raises:
        AtlasError: ``extra`` holds a field that is also set by its own name.
    """
    document: Record = {}
    for item in fields:
        value = getattr(source, item.attribute)
        if value is MISSING:
            continue
        encoded = value if value is None or item.encode is None else item.encode(value)
        document[item.key or item.attribute] = encoded
    if not document.keys().isdisjoint(extra):
        twice = sorted(document.keys() & extra.keys())
        raise AtlasError(f"a session sets {', '.join(twice)} twice: as a field and in its metadata")
    document.update(extra)
    return document


def _anything(value: Any) -> Any:
    return value


def _of(*types: type) -> Callable[[Any], Any]:
    expected = " or ".join(item.__name__ for item in types)

    def check(value: Any) -> Any:
        if type(value) not in types:
            raise MisshapenError(f"expected {expected}, found {type(value).__name__}")
        return value

    return check


_text = _of(str)
_number = _of(int, float)
_whole = _of(int)
_boolean = _of(bool)
_object = _of(dict)


def _items(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise MisshapenError(f"expected list, found {type(value).__name__}")
    return tuple(value)


def _ids(value: Any) -> tuple[int | str, ...]:
    if any(type(item) not in (int, str) for item in _items(value)):
        raise MisshapenError("expected ids")
    return tuple(value)


def _decoded(build: Callable[..., Any], fields: tuple[_Field, ...]) -> Callable[[Any], Any]:
    return lambda value: build(**_unpack(_object(value), fields))


def _encoded(fields: tuple[_Field, ...]) -> Callable[[Any], Record]:
    return lambda value: _pack(value, fields, value.extra)


def _each(decode: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda value: tuple(decode(item) for item in _items(value))


def _each_back(encode: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda value: [encode(item) for item in value]


def _instant(value: Any) -> datetime:
    """Read a time: a datetime as it is, else ISO 8601 text; without a zone it is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise MisshapenError(f"{value!r} is no time") from None
    if not isinstance(value, datetime):
        raise MisshapenError(f"expected a time, found {type(value).__name__}")
    return value if value.tzinfo else value.replace(tzinfo=UTC)


_VERDICT = (
    _Field("identifier", _text),
    _Field("score", _number),
    _Field("rationale", _text),
    _Field("principles", _items, encode=list),
    _Field("samples", _items, encode=list),
    _Field("escalated", _boolean),
    _Field("escalation_reason", _text),
)
_REWARD = (
    _Field("score", _number),
    _Field("rationale", _text),
    _Field(
        "judges",
        _each(_decoded(JudgeVerdict, _VERDICT)),
        encode=_each_back(_encoded(_VERDICT)),
    ),
    _Field("raw", _anything),
)
_PLAN_STEP = (
    _Field("id", _of(int, str)),
    _Field("description", _text),
    _Field("tool", _text),
    _Field("tool_params", _object),
    _Field("depends_on", _ids, encode=list),
)
_PLAN = (
    _Field("steps", _each(_decoded(PlanStep, _PLAN_STEP)), encode=_each_back(_encoded(_PLAN_STEP))),
    _Field("execution_mode", _text),
)
_EVALUATION = (
    _Field("validation", _object),
    _Field("reward", _decoded(SessionReward, _REWARD), encode=_encoded(_REWARD)),
)
_SUMMARY = (
    _Field("lane", _text, "adaptive_mode"),
    _Field("confidence", _number),
    _Field("certification_run", _boolean),
    _Field("probe", _object),
    _Field("mode_history", _items, encode=list),
)
_STEP_METADATA = (
    _Field("artifacts", _anything),
    _Field("runtime", _anything),
    _Field("deliverable", _anything),
)
_SESSION_METADATA = (
    _Field("triage_dossier", _object),
    _Field("adaptive_summary", _decoded(AdaptiveSummary, _SUMMARY), encode=_encoded(_SUMMARY)),
    _Field("personas_used", _anything),
    _Field("persona_updates", _anything),
    _Field("learning_key", _text),
    _Field("learning_history", _object),
    _Field("drift", _object),
)
_decode_evaluation = _decoded(StepEvaluation, _EVALUATION)
_encode_evaluation = _encoded(_EVALUATION)
_STEP = (
    _Field("trace", _text),
    _Field("output", _text),
    _Field("evaluation", _decode_evaluation, encode=_encode_evaluation),
    _Field("num_attempts", _whole, "attempts"),
    _Field("has_result", _boolean),
)
_SESSION = (
    _Field("id", _whole),
    _Field("task", _text),
    _Field("status", _text),
    _Field("final_answer", _text),
    _Field("review_status", _text),
    _Field("review_notes", _text),
    _Field("created_at", _instant, encode=datetime.isoformat),
    _Field("completed_at", _instant, encode=datetime.isoformat),
    _Field("student_learning", _text),
    _Field("teacher_learning", _text),
    _Field("plan", _decoded(Plan, _PLAN), encode=_encoded(_PLAN)),
    _Field("reward", _decoded(SessionReward, _REWARD), "session_reward", _encoded(_REWARD)),
    _Field("reward_stats", _object),
    _Field("reward_audit", _items, encode=list),
)
_NOTE_FIELDS = frozenset({"sequence", "note"})
_EVENT_FIELDS = frozenset({"id", "created_at", "event"})
_OPTIONAL_COLUMNS = frozenset({"student_learning", "teacher_learning"})
"""Columns that a query may leave out; absent, they are MISSING and not None."""


def _open_metadata(values: dict[str, Any], key: str, fields: tuple[_Field, ...]) -> None:
    """Move the metadata document at ``extra[key]`` into attributes, ``metadata`` and ``extra``."""
    extra = values["extra"]
    document = extra.get(key)
    if document is None:
        extra.pop(key, None)
        values["metadata"] = None
    elif isinstance(document, dict):
        del extra[key]
        found = _unpack(document, fields)
        rest = found.pop("extra")
        extra.update(_take_extra(rest))
        values.update(found)
        values["metadata"] = rest


def _close_metadata(source: Session | Step, fields: tuple[_Field, ...]) -> Record | None:
    """Undo ``_open_metadata``."""
    document = _pack(source, fields, source.metadata or {})
    if source.extra:
        document[EXTRA_KEY] = dict(source.extra)
    return document or (None if source.metadata is None else {})


def _take_extra(document: Record) -> Record:
    kept = document.get(EXTRA_KEY)
    return document.pop(EXTRA_KEY) if isinstance(kept, dict) else {}


def _step_from(record: Any, planned: Mapping[object, PlanStep]) -> Step:
    values = _unpack(_object(record), _STEP)
    extra = values["extra"]
    step_id = values["id"] = _whole(extra.pop("step_id", None))
    if step_id in planned:
        values["description"] = planned[step_id].description
        values["depends_on"] = planned[step_id].depends_on
    _open_metadata(values, "metadata", _STEP_METADATA)
    attempts = _items(extra.pop("attempt_details", []))
    values["attempts"] = tuple([_attempt_from(item) for item in attempts])
    values["guidance"] = tuple([_note_from(item) for item in _items(extra.pop("guidance", []))])
    for name in ("trace", "output", "num_attempts"):
        values.setdefault(name, None)
    return Step(**values)


def _step_to(step: Step) -> Record:
    return {
        "step_id": step.id,
        **_pack(step, _STEP, {}),
        "metadata": _close_metadata(step, _STEP_METADATA),
        "attempt_details": [_attempt_to(item) for item in step.attempts],
        "guidance": [{"sequence": note.sequence, "note": note.note} for note in step.guidance],
    }


def _attempt_from(record: Any) -> StepAttempt:
    extra = dict(_object(record))
    attempt = _whole(extra.pop("attempt", None))
    document = extra.pop("evaluation", None)
    if document is None:
        return StepAttempt(attempt=attempt, extra=extra)
    if not isinstance(document, dict):
        return StepAttempt(attempt=attempt, extra={**extra, "evaluation": document})
    document = dict(document)
    extra.update(_take_extra(document))
    return StepAttempt(attempt=attempt, evaluation=_decode_evaluation(document), extra=extra)


def _attempt_to(attempt: StepAttempt) -> Record:
    evaluation = attempt.evaluation
    document = None if evaluation is None else _encode_evaluation(evaluation)
    if document is not None and attempt.extra:
        document[EXTRA_KEY] = dict(attempt.extra)
    return {"attempt": attempt.attempt, "evaluation": document}


def _note_from(record: Any) -> GuidanceNote:
    _no_more_than(_object(record), _NOTE_FIELDS)
    return GuidanceNote(sequence=_whole(record.get("sequence")), note=_text(record.get("note")))


def _event_from(record: Any) -> TrajectoryEvent:
    _no_more_than(_object(record), _EVENT_FIELDS)
    created_at = record.get("created_at")
    at = None if created_at is None else _instant(created_at)
    return TrajectoryEvent(event=record.get("event"), created_at=at, id=record.get("id"))


def _event_to(event: TrajectoryEvent) -> Record:
    created_at = event.created_at and event.created_at.isoformat()
    return {"id": event.id, "created_at": created_at, "event": event.event}


def _no_more_than(record: Mapping[str, Any], names: frozenset[str]) -> None:
    if not record.keys() <= names:
        raise MisshapenError(f"unknown field {', '.join(sorted(record.keys() - names))}")


def _list_of(record: Mapping[str, Any], name: str, decode: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Decode every item of a list that a session can't do without, saying which one is wrong."""
    decoded: list[Any] = []
    place = name
    try:
        for index, item in enumerate(_items(record.get(name) or [])):
            place = f"{name}[{index}]"
            decoded.append(decode(item))
    except MisshapenError as error:
        raise MisshapenError(f"{place}: {error}") from None
    return tuple(decoded)


def session_from_record(record: Mapping[str, Any]) -> Session:
    """Return the session that a record describes.

    Args:
        record: A JSON object as described at the top of this file. Times may be datetimes.

    Raises:
        MisshapenError: The task is no text, or ``steps`` or ``trajectory_events`` can't be read.
            Any other field of an unexpected shape is kept in ``extra``.
    """
    values = _unpack(record, _SESSION)
    extra = values["extra"]
    if not isinstance(values.get("task"), str):
        raise MisshapenError("the field 'task' is missing or no text")
    planned = values["plan"].steps_by_id() if values.get("plan") else {}
    values["steps"] = _list_of(record, "steps", lambda item: _step_from(item, planned))
    values["trajectory_events"] = (
        _list_of(record, "trajectory_events", _event_from)
        if "trajectory_events" in record
        else MISSING
    )
    extra.pop("steps", None)
    extra.pop("trajectory_events", None)
    _open_metadata(values, "session_metadata", _SESSION_METADATA)
    for item in _SESSION:
        absent = MISSING if item.attribute in _OPTIONAL_COLUMNS else None
        values.setdefault(item.attribute, absent)
    return Session(**values)


def session_to_record(session: Session) -> Record:
    """Return the record of a session: plain JSON values, times as ISO 8601 text.

    Raises:
        AtlasError: a field is set twice, once by its name and once in ``metadata`` or ``extra``.
    """
    record = _pack(session, _SESSION, {})
    record["session_metadata"] = _close_metadata(session, _SESSION_METADATA)
    record["steps"] = [_step_to(step) for step in session.steps]
    if session.trajectory_events is not MISSING:
        record["trajectory_events"] = [_event_to(event) for event in session.trajectory_events]
    return record
