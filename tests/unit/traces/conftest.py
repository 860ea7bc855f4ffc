"""Random sessions, as strange as JSON and the types allow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import strategies as st

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

Strategy = st.SearchStrategy[Any]

STORABLE_TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8
)

TIMES = st.datetimes(
    min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)
)


def maybe(strategy: Strategy) -> Strategy:
    return st.one_of(st.just(MISSING), st.none(), strategy)


def json_values(text: Strategy) -> Strategy:
    numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        st.none() | st.booleans() | numbers | text,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
        max_leaves=4,
    )


def nested(depth: int) -> dict[str, Any]:
    document: dict[str, Any] = {"leaf": None}
    for level in range(depth):
        document = {"x": [document, level]}
    return document


def huge(text: Strategy) -> Strategy:
    """Text of up to a megabyte, more than the few kilobytes that PostgreSQL keeps in a row."""
    return st.builds(
        lambda part, times: (part + "é\u20ac\U0001f600") * times, text, st.just(60_000)
    )


def rewards(text: Strategy, objects: Strategy) -> Strategy:
    verdicts = st.builds(
        JudgeVerdict,
        identifier=maybe(text),
        score=maybe(st.floats(0, 1)),
        rationale=maybe(text),
        principles=maybe(st.lists(objects, max_size=1).map(tuple)),
        escalated=maybe(st.booleans()),
        extra=objects,
    )
    return st.builds(
        SessionReward,
        score=maybe(st.floats(-1, 1)),
        judges=maybe(st.lists(verdicts, max_size=2).map(tuple)),
        rationale=maybe(text),
        raw=maybe(objects),
        extra=objects,
    )


def plans(text: Strategy, objects: Strategy) -> Strategy:
    plan_steps = st.builds(
        PlanStep,
        id=maybe(st.integers(1, 4) | text),
        description=maybe(text),
        tool=maybe(text),
        tool_params=maybe(objects),
        depends_on=maybe(st.lists(st.integers(1, 3) | text, max_size=2).map(tuple)),
        extra=objects,
    )
    return st.builds(
        Plan,
        steps=maybe(st.lists(plan_steps, max_size=3).map(tuple)),
        execution_mode=maybe(text),
        extra=objects,
    )


@st.composite
def steps_with_id(draw: st.DrawFn, step_id: int, text: Strategy, objects: Strategy) -> Step:
    evaluations = st.none() | st.builds(
        StepEvaluation,
        validation=maybe(objects),
        reward=maybe(rewards(text, objects)),
        extra=objects,
    )
    has_result = draw(st.booleans())
    notes = draw(st.lists(text, min_size=0 if has_result else 1, max_size=2))
    result: dict[str, Any] = {"trace": None, "output": None, "metadata": None}
    if has_result:
        result = {
            "trace": draw(st.none() | text),
            "output": draw(st.none() | text),
            "evaluation": draw(evaluations),
            "num_attempts": draw(st.none() | st.integers(0, 9)),
            "artifacts": draw(maybe(json_values(text))),
            "runtime": draw(maybe(objects)),
            "metadata": draw(st.none() | objects),
            "extra": draw(objects),
        }
    return Step(
        id=step_id,
        has_result=has_result,
        attempts=tuple(
            StepAttempt(attempt=number, evaluation=draw(evaluations), extra=draw(objects))
            for number in range(1, draw(st.integers(1, 3)))
        ),
        guidance=tuple(
            GuidanceNote(sequence=place, note=note) for place, note in enumerate(notes, start=1)
        ),
        **result,
    )


@st.composite
def step_lists(
    draw: st.DrawFn, text: Strategy, objects: Strategy, *, unique: bool
) -> tuple[Step, ...]:
    ids = sorted(draw(st.lists(st.integers(1, 4), max_size=2, unique=unique)))
    return tuple(draw(steps_with_id(step_id, text, objects)) for step_id in ids)


def make_session_strategy(text: Strategy, *, unique_steps: bool) -> Strategy:
    # Keys that no field has, so that a document never sets a field twice.
    objects = st.dictionaries(text.map("x".__add__), json_values(text), max_size=2)
    events = st.builds(TrajectoryEvent, event=json_values(text), created_at=TIMES)
    summaries = st.builds(
        AdaptiveSummary,
        lane=maybe(text),
        confidence=maybe(st.floats(0, 1)),
        certification_run=maybe(st.booleans()),
        probe=maybe(objects),
        extra=objects,
    )
    return st.builds(
        Session,
        task=text,
        final_answer=st.none() | text | huge(text),
        status=st.none() | text,
        review_status=st.sampled_from(["pending", "approved", "quarantined"]),
        review_notes=st.none() | text,
        created_at=TIMES,
        completed_at=st.none() | TIMES,
        plan=maybe(plans(text, objects)),
        steps=step_lists(text, objects, unique=unique_steps),
        reward=st.none() | rewards(text, objects),
        reward_stats=maybe(objects),
        reward_audit=st.none() | st.lists(objects, max_size=1).map(tuple),
        trajectory_events=st.lists(events, max_size=2).map(tuple),
        student_learning=st.none() | text,
        teacher_learning=st.none() | text,
        triage_dossier=maybe(objects),
        adaptive_summary=maybe(summaries),
        personas_used=maybe(json_values(text)),
        persona_updates=maybe(json_values(text)),
        learning_key=maybe(text),
        learning_history=maybe(objects),
        drift=maybe(objects),
        metadata=st.none() | objects | st.integers(1, 80).map(nested),
        extra=objects,
    )


@pytest.fixture(scope="session")
def storable_sessions() -> Strategy:
    """Sessions that PostgreSQL can hold: its text, a step an id, in the order in which it gives."""
    return make_session_strategy(STORABLE_TEXT, unique_steps=True)


@pytest.fixture(scope="session")
def any_sessions() -> Strategy:
    """Any session: half surrogate pairs and U+0000 in its texts, an id for two steps included."""
    return make_session_strategy(st.text(st.characters(), max_size=8), unique_steps=False)


SDK_TABLES = """
    CREATE TABLE sessions (id SERIAL PRIMARY KEY, task TEXT NOT NULL,
        status TEXT NOT NULL DEFAULT 'running', metadata JSONB, final_answer TEXT, reward JSONB,
        reward_stats JSONB, reward_audit JSONB, student_learning TEXT, teacher_learning TEXT,
        review_status TEXT NOT NULL DEFAULT 'pending', review_notes TEXT,
        created_at TIMESTAMPTZ NOT NULL DEFAULT now(), completed_at TIMESTAMPTZ);
    CREATE INDEX ON sessions ((metadata ->> 'learning_key'));
    CREATE TABLE plans (session_id INT PRIMARY KEY REFERENCES sessions, plan JSONB NOT NULL);
    CREATE TABLE step_results (session_id INT REFERENCES sessions, step_id INT, trace TEXT,
        output TEXT, evaluation JSONB, attempts INT, metadata JSONB,
        PRIMARY KEY (session_id, step_id));
    CREATE TABLE step_attempts (session_id INT REFERENCES sessions, step_id INT, attempt INT,
        evaluation JSONB, PRIMARY KEY (session_id, step_id, attempt));
    CREATE TABLE guidance_notes (session_id INT REFERENCES sessions, step_id INT, sequence INT,
        note TEXT NOT NULL, PRIMARY KEY (session_id, step_id, sequence));
    CREATE TABLE trajectory_events (id SERIAL PRIMARY KEY, session_id INT REFERENCES sessions,
        event JSONB NOT NULL, created_at TIMESTAMPTZ NOT NULL DEFAULT now());
    CREATE TABLE persona_memory (memory_id UUID PRIMARY KEY, persona TEXT NOT NULL);
"""


@pytest.fixture
def sdk_db_url(empty_db_url: str) -> str:
    """The ``db_url`` of a new place with the tables and indexes that the Atlas SDK creates."""
    with psycopg.connect(empty_db_url, autocommit=True) as connection:
        connection.execute(SDK_TABLES)
    return empty_db_url


@pytest.fixture
def make_session() -> Callable[..., Session]:
    """Build a session like the ones that a dual-agent run records."""

    def make(number: int = 0, *, num_events: int = 2, **fields: Any) -> Session:
        values: dict[str, Any] = {
            "task": f"Calculate {number} + 1.",
            "final_answer": str(number + 1),
            "status": "succeeded",
            "created_at": datetime(2025, 1, 1, tzinfo=UTC),
            "reward": SessionReward(score=1.0, judges=(JudgeVerdict(identifier="exact", score=1),)),
            "steps": (
                Step(
                    id=1,
                    description="Work it out.",
                    output=f"Answer: {number + 1}",
                    guidance=(GuidanceNote(note="Add one."),),
                    attempts=(StepAttempt(attempt=1),),
                ),
            ),
            "trajectory_events": tuple(
                TrajectoryEvent(
                    event={"event_type": "LLM_END", "place": place},
                    created_at=datetime(2025, 1, 1, 0, 0, place, tzinfo=UTC),
                )
                for place in range(num_events)
            ),
            "metadata": {"family": "chain_sum", "number": number},
        }
        return Session(**{**values, **fields})

    return make
