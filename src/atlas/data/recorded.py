"""What a recorded session says besides its dialogue: for prompts, weights, filters and tables.

Input: a `Session` of the Atlas SDK. Output: texts that a teacher's prompt may show, facts for the
table of rollouts, and how much an example is worth. Fields of another shape than the SDK's count as
absent.

    dossier    the triage dossier: its summary, risks and signals
    persona    what the personas in use were told, and what was changed in them
    evidence   what the probe found out about the student
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from atlas.session import Session, json_number
from atlas.types import Task

RECORDED: Final = "recorded"
"""Key of a task's metadata."""
SHOWN: Final = ("dossier", "persona", "evidence")
"""Blanks of the teacher's prompt."""
FACTS: Final = ("session", "lane", "confidence", "certified", "personas")
_LONGEST: Final = 2000
"""Characters of one of the texts; what is behind them is left out."""
_TEXTS: Final = ("text", "content", "append", "description", "rationale", "note", "instruction")


def recorded_of(session: Session) -> dict[str, Any]:
    """Return the facts and texts of a session; only those that are there."""
    summary = session.adaptive_summary or None
    facts = {
        "lane": summary and summary.lane,
        "confidence": summary and summary.confidence,
        "certified": summary and summary.certification_run,
        "personas": _names(session.personas_used),
    }
    found = {name: value for name, value in facts.items() if value is not None and value != ""}
    return {name: value for name, value in {**found, **shown_of(session)}.items() if _said(value)}


def shown_of(session: Session) -> dict[str, str]:
    """Return the texts that a teacher's prompt may show, by blank; only those that are there."""
    probe = getattr(session.adaptive_summary or None, "probe", None) or {}
    texts = {
        "dossier": _dossier(session.triage_dossier or {}),
        "persona": _listed([session.personas_used or (), session.persona_updates or ()]),
        "evidence": _listed(probe.get("evidence")) if isinstance(probe, Mapping) else "",
    }
    return {name: text[:_LONGEST].strip() for name, text in texts.items() if text.strip()}


def shown_in(task: Task) -> dict[str, str]:
    """Return the same of a task that was recorded."""
    recorded = task.metadata.get(RECORDED)
    recorded = recorded if isinstance(recorded, Mapping) else {}
    return {name: str(recorded[name]) for name in SHOWN if name in recorded}


def facts_in(task: Task) -> dict[str, Any]:
    """Return a task's latest session, its lane, confidence, certification and the names of the
    personas in use; None for what isn't there.
    """
    recorded = task.metadata.get(RECORDED)
    recorded = recorded if isinstance(recorded, Mapping) else {}
    return {name: recorded.get(name) for name in FACTS}


def worth_of(session: Session) -> dict[str, float]:
    """Return how much a session is worth as an example, from 0 to 1, by what is asked.

    ``reward`` is its score, ``validation`` the share of its validated steps that were found valid;
    one that isn't there counts as 1.
    """
    labels = [step.validation for step in session.steps]
    valid = [label["valid"] for label in labels if label and isinstance(label.get("valid"), bool)]
    return {
        "reward": 1.0 if session.score is None else min(1.0, max(0.0, session.score)),
        "validation": sum(valid) / len(valid) if valid else 1.0,
    }


def judged(session: Session, least: Mapping[str, Any]) -> bool:
    """Tell whether every judge that is named gave a session at least its bound."""
    judges = session.reward.judges if session.reward else ()
    scores = {judge.identifier: json_number(judge.score) for judge in judges or ()}
    return all((scores.get(name) or 0.0) >= float(bound) for name, bound in least.items())


def _dossier(dossier: Mapping[str, Any]) -> str:
    lines = [str(dossier.get("summary") or "")]
    for risk in _objects(dossier.get("risks")):
        lines.append(f"- risk ({risk.get('severity', '?')}): {risk.get('description', '')}")
    for signal in _objects(dossier.get("signals")):
        note = f" ({signal['annotation']})" if signal.get("annotation") else ""
        lines.append(f"- {signal.get('name', '?')}: {signal.get('value', '')}{note}")
    return "\n".join(line for line in lines if line)


def _listed(value: Any) -> str:
    """Return the texts in a value of any shape, a line each."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Mapping):
        texts = [_listed(value[name]) for name in _TEXTS if name in value]
        said = "\n".join(text for text in texts if text)
        name = value.get("persona") or value.get("name")
        return f"{name}: {said}" if said and isinstance(name, str) else said
    if isinstance(value, Sequence):
        return "\n".join(text for text in map(_listed, value) if text)
    return ""


def _names(used: Any) -> str:
    """Return the personas' names, each once, in the order of the alphabet."""
    names = {str(one.get("persona") or one.get("name") or "") for one in _objects(used)}
    return ", ".join(sorted(names - {""}))


def _objects(value: Any) -> list[Mapping[str, Any]]:
    many = isinstance(value, list | tuple)
    return [one for one in value if isinstance(one, Mapping)] if many else []


def _said(value: object) -> bool:
    return isinstance(value, str | int | float)
