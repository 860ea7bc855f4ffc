"""The reference answer of a recorded session, which a student's answer is held against.

Input: a session. Output: a `Reference` or None. Taken, first found:

1. ``metadata.task`` with its answer and family, as `atlas collect` and the quickstart record it;
   the family's own verifier decides.
2. ``ground_truth`` (or ``reference_answer``, ``expected_answer``) in the session's metadata, or in
   that of a step, as users of the Atlas SDK record it.
3. The final answer of a session that went well: as it is read anywhere, or all of it.
   ``metadata.reference_from`` of the task then names the session: it is a belief, not the truth.

For 2 and 3 an answer is right where it says the same (verifiers/reference.py). A final answer of
more than 200 characters is no answer that another one could repeat; such a task is left out.
Of several sessions on one task the best kind counts, then the best reward, then the later number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from atlas.rewards.verifiers import VERIFIERS, has_scorer, read_answer
from atlas.session import Session
from atlas.traces.record import task_of
from atlas.types import REFERENCE, Task

LONGEST: Final = 200
"""Characters of a final answer that another answer can be held against."""
_TRUTHS: Final = ("ground_truth", "reference_answer", "expected_answer")

Rank = tuple[int, float, int, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """What one session says about the answer to its task."""

    rank: Rank
    """Higher is better: the kind, the session's reward, its place."""
    task: Task | None
    unusable: str = ""
    """Why there is no task, in words for a count."""


def find_reference(session: Session, key: str, *, trusted: bool) -> Reference | None:
    """Return what a session says about the right answer; None where it says nothing.

    Args:
        trusted: It went well, so its final answer may be believed.
    """
    question, place = session.task.strip(), (session.score or 0.0, len(key), key)
    recorded = task_of(session)
    if recorded is not None:
        known = recorded.family in VERIFIERS or has_scorer(recorded.family)
        task = Task(
            question=question,
            answer=recorded.answer,
            family=recorded.family if known else REFERENCE,
            metadata=recorded.metadata,
        )
        return Reference(rank=(3, *place), task=task)
    truth = _truth(session)
    if truth:
        return Reference(
            rank=(2, *place), task=Task(question=question, answer=truth, family=REFERENCE)
        )
    final = (session.final_answer or "").strip()
    if not trusted or not final:
        return None
    read = read_answer(final)
    answer = read.text if read else final
    if len(answer) > LONGEST:
        return Reference(
            rank=(0, *place),
            task=None,
            unusable=f"tasks whose final answer has more than {LONGEST} characters",
        )
    believed = {"reference_from": f"final answer of session {key}"}
    task = Task(question=question, answer=answer, family=REFERENCE, metadata=believed)
    return Reference(rank=(1, *place), task=task)


def _truth(session: Session) -> str:
    places = [session.metadata, *(step.metadata for step in session.steps)]
    return next((truth for place in places if place and (truth := _named_truth(place))), "")


def _named_truth(metadata: Mapping[str, Any]) -> str:
    for name in _TRUTHS:
        value = metadata.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value).strip()
    return ""
