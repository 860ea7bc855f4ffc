from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import psycopg
import pytest

from atlas.errors import AtlasError
from atlas.traces.embedded import watch as embedded_watch
from atlas.traces.embedded.install import find_install
from atlas.traces.embedded.server import EmbeddedPostgres
from atlas.traces.open_database import database
from atlas.traces.postgres import connection as postgres_connection
from atlas.traces.postgres.connection import Connection, connect, read_only_snapshot, read_url
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.postgres.writing import write_sessions
from atlas.traces.store import SessionQuery

ALL = SessionQuery()


def numbers(sessions) -> list[int]:
    return [session.metadata["number"] for session in sessions]


@pytest.fixture
def one_session(fresh_db_url, make_session) -> str:
    """The ``db_url`` of a database with one session."""
    write_sessions(fresh_db_url, [make_session()])
    return fresh_db_url


def test_nothing_can_be_written_while_reading(one_session):
    connection = connect(one_session)
    try:
        with (
            pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
            read_only_snapshot(connection, 9.0),
        ):
            connection.execute("DELETE FROM trajectory_events")
    finally:
        connection.close()


def test_a_statement_that_waits_too_long_is_cancelled(one_session):
    store = PostgresTraceStore(one_session, statement_timeout_s=0.2)
    with psycopg.connect(one_session) as blocker:
        blocker.execute("LOCK TABLE plans IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(AtlasError, match="took too long"):
            list(store.sessions(ALL))


def test_reading_goes_on_where_it_was_when_the_server_drops_the_connection(
    fresh_db_url, make_session
):
    write_sessions(fresh_db_url, [make_session(n) for n in range(6)])
    pages = PostgresTraceStore(fresh_db_url, page_size=2).pages(ALL)

    found = [next(pages)]
    with psycopg.connect(fresh_db_url, autocommit=True) as killer:
        killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    found += list(pages)
    assert numbers(chain.from_iterable(found)) == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("DROP TABLE guidance_notes", 'relation "guidance_notes" does not exist'),
        ("ALTER TABLE step_results DROP COLUMN evaluation", 'column "evaluation" does not exist'),
        ("DROP TABLE sessions CASCADE", 'relation "sessions" does not exist'),
    ],
)
def test_a_missing_table_or_column_is_named(damage, named, one_session):
    with psycopg.connect(one_session, autocommit=True) as connection:
        connection.execute(damage)

    with pytest.raises(AtlasError, match=f"is not an Atlas trace database: {named}"):
        list(PostgresTraceStore(one_session).sessions(ALL))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://atlas:s3cr3t@Hunter2@127.0.0.1:1/atlas",
        "postgresql://atlas:Hunter2/x@127.0.0.1:1/atlas",
        "postgresql://atlas:Hunter2?/x@127.0.0.1:1/atlas",
        "postgresql://atlas:Hunter2#x@127.0.0.1:1/atlas",
        "postgresql://atlas:Hunter2/x?y@127.0.0.1:1/atlas",
        "postgresql://atlas:100%Hunter2@127.0.0.1:1/atlas",
        "postgresql+asyncpg://atlas:Hunter2@127.0.0.1:1/atlas",
        "postgres:/atlas:Hunter2@127.0.0.1:1/atlas",
        "host=127.0.0.1 port=1 user=atlas password='Hunter2 x'",
        "host=127.0.0.1 port=1 user=atlas password=Hunter2 x",
        "postgresql://127.0.0.1:1/atlas?user=atlas&password=Hunter2",
        "postgresql://127.0.0.1:1/atlas?user=atlas&sslpassword=Hunter2",
    ],
)
def test_no_part_of_a_password_is_shown(url: str) -> None:
    with pytest.raises(AtlasError, match="db_url") as caught, database(url) as db_url:
        connect(db_url)
    error: BaseException | None = caught.value
    while error is not None:  # whatever a crash report would print
        assert "Hunter2" not in str(error)
        assert "s3cr3t" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_an_address_in_a_part_of_the_url_is_no_password() -> None:
    parts = read_url("postgresql://h:1/d?user=me@corp&password=p")
    assert (parts["host"], parts["user"], parts["password"]) == ("h", "me@corp", "p")


def test_a_server_that_is_not_there_is_named_without_the_password():
    store = PostgresTraceStore("postgresql://atlas:s3cret@127.0.0.1:1/traces")

    with pytest.raises(AtlasError, match=r"database traces on 127\.0\.0\.1:1") as caught:
        list(store.sessions(ALL))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "db_url",
    ["postgresql://u:s3cret@h/d?n=1", "s3cret", "host=h s3cret", "postgresql://\udcff:s3cret@h"],
)
def test_a_db_url_that_cannot_be_read_is_not_repeated(db_url):
    with pytest.raises(AtlasError, match="db_url can't be read") as caught:
        list(PostgresTraceStore(db_url).sessions(ALL))
    assert "s3cret" not in str(caught.value)


@pytest.fixture(scope="module")
def own_folder() -> Iterator[Path]:
    base = Path(tempfile.mkdtemp(prefix="atlas-tests-"))
    yield base / "pg"
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def own_server(own_folder) -> Iterator[EmbeddedPostgres]:
    """A server that a test may stop and start."""
    with EmbeddedPostgres.start(own_folder) as server:
        yield server


def restart(server: EmbeddedPostgres) -> None:
    """Stop a server as its administrator would, at once, and start it again."""
    install = find_install().serving(server.folder)
    command = [install.programs / "pg_ctl", "restart", "-m", "fast", "-w", "-D", server.folder]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **install.run_as())


def test_reading_goes_on_where_it_was_when_the_server_restarts(own_server, make_session):
    write_sessions(own_server.db_url, [make_session(n) for n in range(6)])
    before = embedded_watch.pid_lines(own_server.folder)[0]
    pages = PostgresTraceStore(own_server.db_url, page_size=2).pages(ALL)

    found = [next(pages)]
    restart(own_server)
    found += list(pages)
    assert embedded_watch.pid_lines(own_server.folder)[0] != before
    assert numbers(chain.from_iterable(found)) == [5, 4, 3, 2, 1, 0]


def test_a_server_that_does_not_come_back_is_waited_for_until_the_deadline(
    own_server, make_session, monkeypatch
):
    write_sessions(own_server.db_url, [make_session(n) for n in range(2)])
    pages = PostgresTraceStore(own_server.db_url, page_size=1, retry_s=0.5).pages(ALL)
    attempts: list[str] = []

    def counting(db_url: str) -> Connection:
        attempts.append(db_url)
        return connect(db_url)

    next(pages)
    monkeypatch.setattr(postgres_connection, "connect", counting)
    os.kill(int(embedded_watch.pid_lines(own_server.folder)[0]), signal.SIGINT)
    with pytest.raises(AtlasError, match=r"PostgreSQL database postgres on .*is it running"):
        next(pages)
    assert len(attempts) >= 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PGHOSTADDR", "127.0.0.1"),
        ("PGOPTIONS", "-c default_transaction_read_only=on"),
        ("PGSERVICE", "other"),
        ("PGREQUIREAUTH", "scram-sha-256"),
        ("PGTARGETSESSIONATTRS", "standby"),
        ("PGCONNECT_TIMEOUT", "abc"),
        ("PGDATESTYLE", "German"),
    ],
)
def test_variables_for_another_server_do_not_reach_an_embedded_one(
    name: str, value: str, embedded_db_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with connect(embedded_db_url) as connection:
        row = connection.execute(
            "SELECT current_setting('transaction_read_only'), current_setting('DateStyle')"
        ).fetchone()
    assert row == ("off", "ISO, MDY")
    assert os.environ[name] == value  # for who else needs it
