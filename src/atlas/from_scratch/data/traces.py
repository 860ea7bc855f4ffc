"""Recorded sessions -> prompts with ranked responses: sessions of one task, ranked by reward."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from atlas.data.ranked import RankedRecord
from atlas.session import Session
from atlas.traces.record import task_of
from atlas.types import Task


def ranked_from_sessions(
    sessions: Iterable[Session], *, responses_per_prompt: int
) -> tuple[list[RankedRecord], Counter[str]]:
    """Return a record for every task that was answered differently with different rewards.

    Args:
        sessions: Taken one by one; of each task only answers and rewards are kept.
        responses_per_prompt: K at most.

    Returns:
        The records, in the order in which their tasks came first, and what was left out, by
        reason: with one answer, or with equal rewards, nothing can be ranked.
    """
    left_out: Counter[str] = Counter()
    answers: dict[str, dict[str, float]] = {}
    verifiable: dict[str, Task] = {}
    for session in sessions:
        if session.score is None or not (session.final_answer or "").strip():
            left_out["sessions have no answer or no reward"] += 1
            continue
        scored = answers.setdefault(session.task, {})
        text = str(session.final_answer).strip()
        # The same answer may have been judged more than once: its best reward counts.
        scored[text] = max(session.score, scored.get(text, session.score))
        if (task := task_of(session)) is not None:
            verifiable.setdefault(session.task, task)
    records = [
        RankedRecord(
            prompt=prompt,
            responses=tuple(sorted(scored, key=lambda text: (-scored[text], text))),
            scores=tuple(sorted(scored.values(), reverse=True)),
            task=verifiable.get(prompt),
            source="sessions",
        ).at_most(responses_per_prompt)
        for prompt, scored in answers.items()
        if len(set(scored.values())) > 1
    ]
    left_out["tasks have one answer or equal rewards"] = len(answers) - len(records)
    return records, +left_out
