"""Sessions as a dual-agent run records them, good and bad."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from atlas.session import AdaptiveSummary, GuidanceNote, Session, SessionReward, Step

START = datetime(2025, 1, 1, tzinfo=UTC)


DOSSIER = {
    "task": "Calculate 1 + 1.",
    "summary": "A sum.",
    "risks": [{"category": "general", "description": "It may guess.", "severity": "high"}],
    "signals": [{"name": "terms", "value": 2, "annotation": "counted"}],
}
SUMMARY = AdaptiveSummary(
    lane="coach",
    confidence=0.4,
    certification_run=True,
    probe={"mode": "coach", "evidence": ["It forgets carries.", "It is quick."]},
)
PERSONA = [{"persona": "student", "instruction": {"append": "Show your work."}}]


def recorded_by_sdk(number: int, *, good: bool = True, **fields: Any) -> Session:
    """Return a session as the Atlas SDK writes it: it knows much, and no reference answer."""
    values: dict[str, Any] = {
        "triage_dossier": DOSSIER,
        "adaptive_summary": SUMMARY,
        "personas_used": PERSONA,
        "metadata": {},
    }
    return recorded(number, good=good, **{**values, **fields})


def recorded(number: int, *, good: bool = True, **fields: Any) -> Session:
    """Return session ``number`` on a task of its own; every other value can be given."""
    values: dict[str, Any] = {
        "id": number,
        "task": f"Calculate {number} + 1.",
        "final_answer": f"It is easy. Answer: {number + 1}",
        "status": "succeeded" if good else "failed",
        "reward": SessionReward(score=1.0 if good else 0.0),
        "created_at": START + timedelta(seconds=number),
        "steps": (Step(id=1, guidance=(GuidanceNote(note=f"Add 1 to {number}."),)),),
        "metadata": {"task": {"answer": str(number + 1), "family": "chain_sum", "metadata": {}}},
    }
    return Session(**{**values, **fields})
