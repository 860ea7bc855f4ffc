"""How long reading traces takes, and how much memory, in a PostgreSQL of its own.

Run: ``.venv/bin/python benchmarks/traces.py [--compared N] [--sizes N N ...]``. Sessions have 3
steps and 12 events each; those of 16 sessions are recorded in turns. Prints two tables:

1. the sessions that pass the guide's filter, read one query per session and table, and by Atlas;
2. a full pass of ``paginate_sessions`` in a fresh process, for growing databases.

"SDK" is a database as the Atlas SDK leaves it, without the two indexes that Atlas adds where it
creates the tables; "Atlas" is the same data with them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.rows import dict_row
from rich.console import Console
from rich.table import Table

from atlas.session import Session
from atlas.traces.codec import session_from_record
from atlas.traces.embedded.server import EmbeddedPostgres
from atlas.traces.postgres.writing import ensure_schema
from atlas.training_data import get_training_sessions, paginate_sessions

NUM_STEPS = 3
NUM_EVENTS = 12
GOOD_OF_50 = 13
FILTER = {"min_reward": 0.8, "status_filters": ["succeeded"]}
ADDED_INDEXES = ("sessions_created_at_id", "trajectory_events_session_id")
TABLES = "sessions, plans, step_results, step_attempts, guidance_notes, trajectory_events"

FILL = """
INSERT INTO sessions (id, task, status, review_status, metadata, final_answer, reward,
    reward_stats, student_learning, teacher_learning, created_at, completed_at)
SELECT n, 'Work out item ' || n || ' of the inventory, step by step. ' || repeat('Detail. ', 20),
    CASE WHEN n %% 50 < %(good)s THEN 'succeeded' ELSE 'failed' END, 'approved',
    jsonb_build_object('learning_key', 'inventory-' || n %% 7, 'adaptive_summary',
        jsonb_build_object('adaptive_mode', 'paired', 'confidence', 0.4, 'certification_run', false,
            'probe', jsonb_build_object('evidence', repeat('Said so. ', 10)))),
    'Answer: ' || n, jsonb_build_object('score', score, 'judges', jsonb_build_array(
        jsonb_build_object('identifier', 'process', 'score', score, 'rationale', 'As it should.'),
        jsonb_build_object('identifier', 'answer', 'score', score, 'rationale', 'Compared.'))),
    jsonb_build_object('score', score), 'Count twice.', 'Ask for the units.',
    '2025-01-01'::timestamptz + n * interval '1 second',
    '2025-01-01'::timestamptz + n * interval '1 second' + interval '1 minute'
FROM generate_series(1, %(count)s) AS n,
    LATERAL (SELECT CASE WHEN n %% 50 < %(good)s THEN 0.9 ELSE 0.3 END AS score) AS scored;

INSERT INTO plans SELECT n, jsonb_build_object('execution_mode', 'stepwise', 'steps',
    (SELECT jsonb_agg(jsonb_build_object('id', step, 'description', 'Do part ' || step,
        'depends_on', jsonb_build_array())) FROM generate_series(1, %(steps)s) AS step))
FROM generate_series(1, %(count)s) AS n;

INSERT INTO step_results (session_id, step_id, trace, output, evaluation, attempts, metadata)
SELECT n, step, repeat('Thought about it. ', 20), 'Part ' || step || ' is done.',
    '{"validation": {"valid": true}, "reward": {"score": 0.9}}', 1, '{"artifacts": {"rows": 3}}'
FROM generate_series(1, %(count)s) AS n, generate_series(1, %(steps)s) AS step;

INSERT INTO step_attempts (session_id, step_id, attempt, evaluation)
SELECT n, step, 1, '{"validation": {"valid": true}, "reward": {"score": 0.9}}'
FROM generate_series(1, %(count)s) AS n, generate_series(1, %(steps)s) AS step;

INSERT INTO guidance_notes (session_id, step_id, sequence, note)
SELECT n, step, 1, 'Look at the units first.'
FROM generate_series(1, %(count)s) AS n, generate_series(1, %(steps)s) AS step;

INSERT INTO trajectory_events (session_id, event, created_at)
SELECT n, jsonb_build_object('event_type', 'LLM_END', 'name', 'student', 'place', place, 'data',
    jsonb_build_object('output', repeat('A sentence of the model. ', 12), 'tokens', 60)),
    '2025-01-01'::timestamptz + n * interval '1 second' + place * interval '1 ms'
FROM (SELECT n, place FROM generate_series(1, %(count)s) AS n,
    generate_series(1, %(events)s) AS place ORDER BY n / 16, place, n) AS in_turns;
"""


def main() -> None:
    """Measure what the command line asks for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--compared", type=int, default=5000, help="sessions of the first table")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--reader", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reader:
        sys.stdout.write(json.dumps(full_pass(options.reader)))
        return
    console = Console(highlight=False, width=100)
    console.print(machine())
    with (
        tempfile.TemporaryDirectory(prefix="atlas-traces-") as folder,
        EmbeddedPostgres.start(Path(folder) / "pg") as server,
    ):
        execute(server.db_url, "ALTER SYSTEM SET fsync = off")
        execute(server.db_url, "SELECT pg_reload_conf()")
        ensure_schema(server.db_url)
        definitions = index_definitions(server.db_url)
        console.print(compared(server.db_url, options.compared, definitions))
        console.print(growing(server.db_url, options.sizes, definitions))


def machine() -> str:
    """Return what the measured seconds depend on."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} CPU cores ({platform.machine()}), {memory:.0f} GB of memory, Python "
        f"{platform.python_version()}, psycopg {psycopg.__version__}, server on the same machine"
    )


def compared(db_url: str, count: int, definitions: list[str]) -> Table:
    """Compare with one query per session and table; all must give the same sessions."""
    fill(db_url, count)
    title = f"{count:,} sessions, those with min_reward=0.8 and status succeeded, all events"
    table = Table("read by", "schema", "sessions", "seconds", "share of the time", title=title)

    def add(name: str, schema: str, sessions: int, seconds: float) -> None:
        share = f"1/{naive_s / seconds:.0f}" if name == "Atlas" else "1"
        table.add_row(name, schema, f"{sessions:,}", f"{seconds:.3f}", share)

    naive_s, expected = best_of(1, lambda: read_one_by_one(db_url))
    add("one query per session and table", "SDK", len(expected), naive_s)
    for schema in ("SDK", "Atlas"):
        if schema == "Atlas":
            add_indexes(db_url, definitions)
        seconds, found = best_of(5, lambda: get_training_sessions(db_url, **FILTER))
        if found != expected:
            raise SystemExit(f"the two ways of reading disagree on the {schema} schema")
        add("Atlas", schema, len(found), seconds)
    return table


def growing(db_url: str, sizes: list[int], definitions: list[str]) -> Table:
    """Measure a full pass over databases of these sizes, each pass in a process of its own."""
    title = "paginate_sessions over all sessions, 500 a page, all events, in a process of its own"
    table = Table("schema", "sessions", "seconds", "per 1,000", "to the first", "MB", title=title)
    first: dict[str, float] = {}
    for size in sizes:
        fill(db_url, size)
        for schema in ("SDK", "Atlas"):
            if schema == "Atlas":
                add_indexes(db_url, definitions)
            passes = [read_apart(db_url) for _ in range(3 if size <= 10_000 else 1)]
            seconds = min(found["seconds"] for found in passes)
            megabytes = max(found["megabytes"] for found in passes)
            if passes[0]["sessions"] != size or passes[0]["events"] != size * NUM_EVENTS:
                raise SystemExit(f"a pass over {size} sessions found {passes[0]}")
            per_thousand = seconds / size * 1000
            ratio = per_thousand / first.setdefault(schema, per_thousand)
            figures = f"{seconds:.2f}", f"{per_thousand:.3f}", f"{ratio:.2f}", f"{megabytes:.0f}"
            table.add_row(schema, f"{size:,}", *figures)
    return table


def best_of(times: int, work: Callable[[], list[Session]]) -> tuple[float, list[Session]]:
    """Return the least seconds that some work took, and its result."""
    taken: list[float] = []
    result: list[Session] = []
    for _ in range(times):
        start = time.perf_counter()
        result = work()
        taken.append(time.perf_counter() - start)
    return min(taken), result


def read_one_by_one(db_url: str) -> list[Session]:
    """Read as the naive client does: a query for the list, then five for each session."""
    sessions: list[Session] = []
    with psycopg.Connection[dict[str, Any]].connect(
        db_url,
        row_factory=dict_row,  # pyright: ignore[reportArgumentType]
        autocommit=True,
    ) as connection:

        def rows(table: str, order: str, session_id: int) -> list[dict[str, Any]]:
            statement = f"SELECT * FROM {table} WHERE session_id = %s ORDER BY {order}"
            return connection.execute(statement, [session_id]).fetchall()  # pyright: ignore

        found = connection.execute(
            "SELECT * FROM sessions WHERE (reward_stats ->> 'score')::float >= 0.8"
            " AND status = 'succeeded' ORDER BY created_at DESC, id DESC"
        ).fetchall()
        for session in found:
            number = session["id"]
            plans = rows("plans", "session_id", number)
            steps = rows("step_results", "step_id", number)
            attempts = rows("step_attempts", "step_id, attempt", number)
            notes = rows("guidance_notes", "step_id, sequence", number)
            events = rows("trajectory_events", "id", number)
            session["plan"] = plans[0]["plan"] if plans else None
            session["session_reward"] = session.pop("reward")
            session["session_metadata"] = session.pop("metadata")
            session["steps"] = [
                {
                    **without_session(step),
                    "attempt_details": of_step(attempts, step, ("attempt", "evaluation")),
                    "guidance": of_step(notes, step, ("sequence", "note")),
                }
                for step in steps
            ]
            session["trajectory_events"] = [without_session(event) for event in events]
            sessions.append(session_from_record(session))
    return sessions


def without_session(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without the number of its session."""
    return {name: value for name, value in row.items() if name != "session_id"}


def of_step(
    rows: list[dict[str, Any]], step: dict[str, Any], names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Return the named columns of the rows that belong to a step."""
    return [
        {name: row[name] for name in names} for row in rows if row["step_id"] == step["step_id"]
    ]


def full_pass(db_url: str) -> dict[str, float]:
    """Read every session, a page at a time."""
    start = time.perf_counter()
    sessions = events = 0
    for page in paginate_sessions(db_url):
        sessions += len(page)
        events += sum(len(session.trajectory_events or ()) for session in page)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "sessions": sessions,
        "events": events,
        "megabytes": peak_megabytes(),
    }


def peak_megabytes() -> float:
    """Return the most memory that this process has held (its resident set), in MB."""
    # getrusage would count the parent's memory, too: a child begins with it.
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def read_apart(db_url: str) -> dict[str, float]:
    """Run ``full_pass`` in a process of its own."""
    command = [sys.executable, __file__, "--reader", db_url]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def fill(db_url: str, count: int) -> None:
    """Leave a database of so many sessions as the SDK does, with up-to-date statistics."""
    for name in ADDED_INDEXES:
        execute(db_url, f"DROP INDEX IF EXISTS {name}")
    execute(db_url, f"TRUNCATE {TABLES} RESTART IDENTITY CASCADE")
    values = {"count": count, "good": GOOD_OF_50, "steps": NUM_STEPS, "events": NUM_EVENTS}
    with psycopg.connect(db_url) as connection:
        # All references are right as they are made; looking each one up takes most of the time.
        connection.execute("SET LOCAL session_replication_role = replica")
        psycopg.ClientCursor(connection).execute(FILL, values)
    execute(db_url, "VACUUM ANALYZE")


def add_indexes(db_url: str, definitions: list[str]) -> None:
    """Add what Atlas adds where it creates the tables."""
    for definition in definitions:
        execute(db_url, definition)
    execute(db_url, "VACUUM ANALYZE sessions, trajectory_events")


def index_definitions(db_url: str) -> list[str]:
    """Return the statements that create the added indexes."""
    statement = "SELECT indexdef FROM pg_indexes WHERE indexname = ANY(%s)"
    with psycopg.connect(db_url) as connection:
        return [row[0] for row in connection.execute(statement, [list(ADDED_INDEXES)])]


def execute(db_url: str, statement: str) -> None:
    """Run one statement in a transaction of its own, or in none."""
    with psycopg.connect(db_url, autocommit=True) as connection:
        connection.execute(statement)  # pyright: ignore


if __name__ == "__main__":
    main()
