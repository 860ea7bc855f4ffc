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
from datetime import datetime
from typing import Any

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
from atlas.traces.codec_fields import (
    EXTRA_KEY,
    Field,
    MisshapenError,
    Record,
    anything,
    as_boolean,
    as_ids,
    as_instant,
    as_items,
    as_number,
    as_object,
    as_text,
    as_whole,
    close_metadata,
    decoded,
    each,
    each_back,
    encoded,
    fields,
    no_more_than,
    of_type,
    open_metadata,
    pack,
    take_extra,
    unpack,
)

_VERDICT = fields(
    Field("identifier", as_text),
    Field("score", as_number),
    Field("rationale", as_text),
    Field("principles", as_items, encode=list),
    Field("samples", as_items, encode=list),
    Field("escalated", as_boolean),
    Field("escalation_reason", as_text),
)
_REWARD = fields(
    Field("score", as_number),
    Field("rationale", as_text),
    Field(
        "judges",
        each(decoded(JudgeVerdict, _VERDICT)),
        encode=each_back(encoded(_VERDICT)),
    ),
    Field("raw", anything),
)
_PLAN_STEP = fields(
    Field("id", of_type(int, str)),
    Field("description", as_text),
    Field("tool", as_text),
    Field("tool_params", as_object),
    Field("depends_on", as_ids, encode=list),
)
_PLAN = fields(
    Field("steps", each(decoded(PlanStep, _PLAN_STEP)), encode=each_back(encoded(_PLAN_STEP))),
    Field("execution_mode", as_text),
)
_EVALUATION = fields(
    Field("validation", as_object),
    Field("reward", decoded(SessionReward, _REWARD), encode=encoded(_REWARD)),
)
_SUMMARY = fields(
    Field("lane", as_text, "adaptive_mode"),
    Field("confidence", as_number),
    Field("certification_run", as_boolean),
    Field("probe", as_object),
    Field("mode_history", as_items, encode=list),
)
_STEP_METADATA = fields(
    Field("artifacts", anything),
    Field("runtime", anything),
    Field("deliverable", anything),
)
_SESSION_METADATA = fields(
    Field("triage_dossier", as_object),
    Field("adaptive_summary", decoded(AdaptiveSummary, _SUMMARY), encode=encoded(_SUMMARY)),
    Field("personas_used", anything),
    Field("persona_updates", anything),
    Field("learning_key", as_text),
    Field("learning_history", as_object),
    Field("drift", as_object),
)
_decode_evaluation = decoded(StepEvaluation, _EVALUATION)
_encode_evaluation = encoded(_EVALUATION)
_STEP = fields(
    Field("trace", as_text),
    Field("output", as_text),
    Field("evaluation", _decode_evaluation, encode=_encode_evaluation),
    Field("num_attempts", as_whole, "attempts"),
    Field("has_result", as_boolean),
)
_SESSION = fields(
    Field("id", as_whole),
    Field("task", as_text),
    Field("status", as_text),
    Field("final_answer", as_text),
    Field("review_status", as_text),
    Field("review_notes", as_text),
    Field("created_at", as_instant, encode=datetime.isoformat),
    Field("completed_at", as_instant, encode=datetime.isoformat),
    Field("student_learning", as_text),
    Field("teacher_learning", as_text),
    Field("plan", decoded(Plan, _PLAN), encode=encoded(_PLAN)),
    Field("reward", decoded(SessionReward, _REWARD), "session_reward", encoded(_REWARD)),
    Field("reward_stats", as_object),
    Field("reward_audit", as_items, encode=list),
)
_NOTE_FIELDS = frozenset({"sequence", "note"})
_EVENT_FIELDS = frozenset({"id", "created_at", "event"})
_OPTIONAL_COLUMNS = frozenset({"student_learning", "teacher_learning"})
"""Columns that a query may leave out; absent, they are MISSING and not None."""


def _step_from(record: Any, planned: Mapping[object, PlanStep]) -> Step:
    values = unpack(as_object(record), _STEP)
    extra = values["extra"]
    step_id = values["id"] = as_whole(extra.pop("step_id", None))
    if step_id in planned:
        values["description"] = planned[step_id].description
        values["depends_on"] = planned[step_id].depends_on
    open_metadata(values, "metadata", _STEP_METADATA)
    attempts = as_items(extra.pop("attempt_details", []))
    values["attempts"] = tuple([_attempt_from(item) for item in attempts])
    values["guidance"] = tuple([_note_from(item) for item in as_items(extra.pop("guidance", []))])
    for name in ("trace", "output", "num_attempts"):
        values.setdefault(name, None)
    return Step(**values)


def _step_to(step: Step) -> Record:
    return {
        "step_id": step.id,
        **pack(step, _STEP, {}),
        "metadata": close_metadata(step, _STEP_METADATA),
        "attempt_details": [_attempt_to(item) for item in step.attempts],
        "guidance": [{"sequence": note.sequence, "note": note.note} for note in step.guidance],
    }


def _attempt_from(record: Any) -> StepAttempt:
    extra = dict(as_object(record))
    attempt = as_whole(extra.pop("attempt", None))
    document = extra.pop("evaluation", None)
    if document is None:
        return StepAttempt(attempt=attempt, extra=extra)
    if not isinstance(document, dict):
        return StepAttempt(attempt=attempt, extra={**extra, "evaluation": document})
    document = dict(document)
    extra.update(take_extra(document))
    return StepAttempt(attempt=attempt, evaluation=_decode_evaluation(document), extra=extra)


def _attempt_to(attempt: StepAttempt) -> Record:
    evaluation = attempt.evaluation
    document = None if evaluation is None else _encode_evaluation(evaluation)
    if document is not None and attempt.extra:
        document[EXTRA_KEY] = dict(attempt.extra)
    return {"attempt": attempt.attempt, "evaluation": document}


def _note_from(record: Any) -> GuidanceNote:
    no_more_than(as_object(record), _NOTE_FIELDS)
    return GuidanceNote(sequence=as_whole(record.get("sequence")), note=as_text(record.get("note")))


def _event_from(record: Any) -> TrajectoryEvent:
    no_more_than(as_object(record), _EVENT_FIELDS)
    created_at = record.get("created_at")
    at = None if created_at is None else as_instant(created_at)
    return TrajectoryEvent(event=record.get("event"), created_at=at, id=record.get("id"))


def _event_to(event: TrajectoryEvent) -> Record:
    created_at = event.created_at and event.created_at.isoformat()
    return {"id": event.id, "created_at": created_at, "event": event.event}


def _list_of(record: Mapping[str, Any], name: str, decode: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Decode every item of a list that a session can't do without, saying which one is wrong."""
    items: list[Any] = []
    found: tuple[Any, ...] | None = None
    try:
        found = as_items(record.get(name) or [])
        for item in found:
            items.append(decode(item))
    except MisshapenError as error:
        place = name if found is None else f"{name}[{len(items)}]"
        raise MisshapenError(f"{place}: {error}") from None
    return tuple(items)


def session_from_record(record: Mapping[str, Any]) -> Session:
    """Return the session that a record describes.

    Args:
        record: A JSON object as described at the top of this file. Times may be datetimes.

    Raises:
        MisshapenError: The task is no text, or ``steps`` or ``trajectory_events`` can't be read.
            Any other field of an unexpected shape is kept in ``extra``.
    """
    values = unpack(record, _SESSION)
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
    open_metadata(values, "session_metadata", _SESSION_METADATA)
    for item in _SESSION.values():
        absent = MISSING if item.attribute in _OPTIONAL_COLUMNS else None
        values.setdefault(item.attribute, absent)
    return Session(**values)


def session_to_record(session: Session) -> Record:
    """Return the record of a session: plain JSON values, times as ISO 8601 text.

    Raises:
        AtlasError: a field is set twice, once by its name and once in ``metadata`` or ``extra``.
    """
    record = pack(session, _SESSION, {})
    record["session_metadata"] = close_metadata(session, _SESSION_METADATA)
    record["steps"] = [_step_to(step) for step in session.steps]
    if session.trajectory_events is not MISSING:
        record["trajectory_events"] = [_event_to(event) for event in session.trajectory_events]
    return record
