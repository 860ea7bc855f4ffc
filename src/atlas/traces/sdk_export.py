"""What the Atlas SDK's exporter writes on a line -> the record of a session.

Stage: under ``jsonl``. The exporter repeats much: step metadata beside the steps, session metadata
beside the session, events inside the metadata, and what it derived (context, event type and
actor) everywhere. A copy is dropped where it equals its original and is kept where it doesn't.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from atlas.traces.codec_fields import Record

_FILLED_INTO_METADATA: Final = {
    "session_id": "id",
    "status": "status",
    "created_at": "created_at",
    "completed_at": "completed_at",
}
_IN_METADATA: Final = (
    "adaptive_summary",
    "drift",
    "drift_alert",
    "execution_mode",
    "learning_history",
    "learning_key",
    "persona_updates",
    "personas_used",
    "reward_summary",
    "teacher_notes",
    "triage_dossier",
)
_EVENT_FIELDS: Final = ("id", "created_at", "event")
_DERIVED_OF_STEP: Final = frozenset(
    {"attempt_details", "attempt_history", "context", "depends_on", "description", "raw_evaluation"}
    | {"reward", "tool", "tool_params", "validation"}
)
_STEP_FIELDS: Final = frozenset({"step_id", "trace", "output", "attempts"})


def record_from_export(line: Mapping[str, Any]) -> Record:
    """Return the record of an exported line; what can't be placed stays as it is."""
    record = dict(line)
    if isinstance(record.get("session_metadata"), dict):
        _settle_metadata(record)
    if not record.get("plan"):
        record["plan"] = _plan_of(record.get("steps"))
    if isinstance(record.get("steps"), list):
        record["steps"] = [_step(step) for step in record["steps"]]
    events = record.get("trajectory_events")
    if isinstance(events, list):
        record["trajectory_events"] = [_event(event) for event in events]
    elif events is None:
        record["trajectory_events"] = []
    return record


def _settle_metadata(record: Record) -> None:
    """Put every field where it came from: into the metadata, or out of it."""
    metadata = record["session_metadata"] = dict(record["session_metadata"])
    metadata.pop("trajectory_events", None)
    for name, field in _FILLED_INTO_METADATA.items():
        if name in metadata:
            record.setdefault(field, metadata.pop(name))
    for name in _IN_METADATA:
        if name in record and metadata.setdefault(name, record[name]) == record[name]:
            del record[name]


def _plan_of(steps: Any) -> Record | None:
    """Return the plan that the steps' copies amount to where the plan itself is missing."""
    if not isinstance(steps, list) or not steps:
        return None
    names = {"step_id": "id", "description": "description", "depends_on": "depends_on"}
    planned = [step for step in steps if isinstance(step, dict)]
    return {
        "steps": [
            {target: step[name] for name, target in names.items() if step.get(name) is not None}
            for step in planned
        ]
    }


def _step(step: Any) -> Any:
    if not isinstance(step, dict):
        return step
    metadata = step.get("metadata")
    metadata = dict(metadata) if isinstance(metadata, dict) else {}
    evaluation = _evaluation(step, metadata)
    attempts = metadata.get("attempt_details") or metadata.get("attempt_history") or []
    for name in ("attempt_details", "attempt_history", "raw_evaluation", "depends_on"):
        metadata.pop(name, None)
    record = {name: step[name] for name in _STEP_FIELDS if name in step}
    for name, value in step.items():
        if name in record or name in _DERIVED_OF_STEP or name in ("guidance", "metadata"):
            continue
        # An empty field stands for none here: the exporter fills in what a step doesn't have.
        if name not in metadata and value not in (None, {}, []):
            metadata[name] = value
    notes = step.get("guidance") or []
    notes = [notes] if isinstance(notes, str | dict) else notes
    return {
        **record,
        "evaluation": evaluation,
        "metadata": metadata,
        "attempt_details": attempts,
        "guidance": [_note(place, note) for place, note in enumerate(notes, start=1)]
        if isinstance(notes, list)
        else notes,  # which the codec refuses
    }


def _note(place: int, note: Any) -> Any:
    if isinstance(note, str):
        return {"sequence": place, "note": note}
    return {"sequence": place, **note} if isinstance(note, dict) else note


def _evaluation(step: Mapping[str, Any], metadata: Mapping[str, Any]) -> Any:
    """Return the evaluation as it was stored, else put together of its copies."""
    stored = metadata.get("raw_evaluation")
    if isinstance(stored, dict) and stored.keys() != {"raw"}:
        return stored
    parts = {name: step[name] for name in ("validation", "reward") if step.get(name)}
    return parts or None


def _event(event: Any) -> Any:
    if not isinstance(event, dict):
        return event
    return {name: event[name] for name in _EVENT_FIELDS if name in event}
