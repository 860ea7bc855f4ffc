"""Queries of a student on the embedded PostgreSQL, such that none can do harm or take long.

Each shop is a schema with a role of its own, which may read its tables and nothing else: no other
schema, no temporary table, no large object, no function that sleeps, locks, reads files or changes
settings. A query is a single statement (the protocol takes no two), a subquery of ours in a
read-only transaction on a connection of its own, with limits on time, rows and size.

The data lie in the cache directory, and are made when they are first asked for.
"""

from __future__ import annotations

import atexit
import math
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import make_conninfo

from atlas.errors import AtlasError, one_line
from atlas.machine.shipped import cache_folder
from atlas.rewards.sql.shop import TABLES, digest, number_of, shop
from atlas.traces.embedded.server import EmbeddedPostgres
from atlas.traces.postgres.connection import Connection, connect

MAX_ROWS: Final = 50
TIME_LIMIT: Final = 5.0
"""Seconds that the server works on a query."""
MAX_BYTES: Final = 100_000
"""Of a result."""

_READS = re.compile(r"(?is)^(?:\s|\(|--[^\n]*\n)*(?:select|with|values|table)\b")
_LOCK: Final = 7_218_044
_MAKING = threading.RLock()
_REVOKED: Final = (
    r"^(lo_|pg_sleep|pg_advisory|pg_try_advisory|pg_notify|pg_read|pg_ls|pg_stat_file|pg_logical"
    r"|pg_cancel|pg_terminate|pg_export_snapshot|set_config|setval|nextval|setseed|query_to_|table_to_"
    r"|schema_to_|database_to_|cursor_to_|ts_stat|dblink|pg_create|pg_drop|pg_replication|pg_switch"
    r"|pg_promote|pg_stat_get|pg_reload|pg_rotate|pg_log_|pg_wal_|pg_backup|currtid)"
)
"""Functions that no reader needs, and that everybody may call, or might."""


class QueryError(ValueError):
    """A query has no result, for a reason of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """What a query returned."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]
    """As text; None is null."""
    cut: bool
    """There are more rows."""


@dataclass(slots=True)
class _Server:
    """The embedded server of a folder, and which shops are there."""

    server: EmbeddedPostgres
    made: set[str]


_servers: dict[tuple[int, Path], _Server] = {}
"""By process and folder: a fork has its parent's connections, and must make its own."""


def read(database: str, query: str, *, max_rows: int = MAX_ROWS) -> Table:
    """Return what a query of one of the shops returns.

    Args:
        database: ``shop_N``.
        query: One SELECT.
        max_rows: Further ones are cut off.

    Raises:
        QueryError: It isn't a SELECT, fails, or takes or returns too much.
        AtlasError: There is no such database, or the server can't be started.
    """
    number = number_of(database)
    if number is None:
        raise AtlasError(f"there is no database '{database}' to be queried")
    if not _READS.match(query):
        raise QueryError("only a SELECT can be run")
    role = f"shop_{number}_{digest(number)}"
    text = query.strip().rstrip("; \n\t")
    with _reader(_ready(number, role), role) as connection:
        # As a line of its own: it may end with a comment.
        limited = f"SELECT * FROM (\n{text}\n) AS found_rows LIMIT {max_rows + 1}"
        size = f"SELECT sum(octet_length(one::text)) FROM ({limited}) AS one"
        measured = _run(connection, size).get_value(0, 0)
        if int(measured or 0) > MAX_BYTES:
            raise QueryError(f"the result is longer than {MAX_BYTES:,} bytes")
        found = _run(connection, limited)
    columns = tuple(_text(found.fname(n)) or "" for n in range(found.nfields))
    rows = tuple(
        tuple(_text(found.get_value(row, n)) for n in range(found.nfields))
        for row in range(found.ntuples)
    )
    return Table(columns=columns, rows=rows[:max_rows], cut=len(rows) > max_rows)


def open_server() -> None:
    """Start the server, so that no query has to wait for it.

    Raises:
        AtlasError: It can't be started.
    """
    _server()


def close_servers() -> None:
    """Stop what this process started; the next query starts it again."""
    with _MAKING:
        for pid, folder in list(_servers):
            if pid == os.getpid():
                _servers.pop((pid, folder)).server.close()


def _server() -> _Server:
    with _MAKING:
        key = (os.getpid(), cache_folder() / "sql")
        if key not in _servers:
            _servers[key] = _Server(EmbeddedPostgres.start(key[1]), set())
        return _servers[key]


atexit.register(close_servers)


def _ready(number: int, role: str) -> str:
    """Return the address of the server, with the shop in it."""
    with _MAKING:
        running = _server()
        if role not in running.made:
            with connect(running.server.db_url) as connection, connection.transaction():
                # Another process may be making the same.
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
                there = "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = %s"
                if connection.execute(there, [role]).fetchone() is None:
                    _close_doors(connection)
                    _make(connection, number, sql.Identifier(role))
            running.made.add(role)
        return running.server.db_url


def _close_doors(connection: Connection) -> None:
    """Take from everybody what PostgreSQL gives to everybody."""
    connection.execute("REVOKE ALL ON DATABASE postgres FROM PUBLIC")
    connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    found = connection.execute(
        "SELECT oid::regprocedure::text FROM pg_catalog.pg_proc WHERE proname ~ %s", [_REVOKED]
    )
    names = ", ".join(name for (name,) in found.fetchall())
    _unchecked(connection, f"REVOKE EXECUTE ON FUNCTION {names} FROM PUBLIC")


def _make(connection: Connection, number: int, role: sql.Identifier) -> None:
    """Make a shop: its schema, tables and rows, and the role that may read them."""

    def run(statement: str, **names: sql.Composable) -> None:
        connection.execute(sql.SQL(statement).format(role=role, **names))  # pyright: ignore

    limits = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION CONNECTION LIMIT 16"
    run(f"CREATE ROLE {{role}} LOGIN {limits}")
    run("ALTER ROLE {role} SET temp_file_limit = '64MB'")
    run("GRANT CONNECT ON DATABASE postgres TO {role}")
    run("CREATE SCHEMA {role}")
    run("SET LOCAL search_path TO {role}")
    for table, columns in TABLES.items():
        run(f"CREATE TABLE {table} ({columns})")
        rows: Sequence[tuple[Any, ...]] = shop(number)[table]
        blanks = ", ".join(["%s"] * len(rows[0]))
        insert = f"INSERT INTO {table} VALUES ({blanks})"
        connection.cursor().executemany(insert, rows)  # pyright: ignore[reportArgumentType]
    run("GRANT USAGE ON SCHEMA {role} TO {role}")
    run("GRANT SELECT ON ALL TABLES IN SCHEMA {role} TO {role}")


def _unchecked(connection: Connection, statement: str) -> None:
    """Run a statement whose names the server itself has quoted."""
    connection.execute(statement)  # pyright: ignore[reportArgumentType,reportCallIssue]


@contextmanager
def _reader(db_url: str, role: str) -> Iterator[psycopg.Connection[Any]]:
    """Give a connection of the role, in a read-only transaction."""
    settings = {
        "search_path": role,
        "default_transaction_read_only": "on",
        "statement_timeout": str(math.ceil(TIME_LIMIT * 1000)),
        "lock_timeout": "1000",
    }
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    try:
        connection = psycopg.connect(
            make_conninfo(db_url, user=role, options=options), autocommit=True
        )
    except psycopg.Error as error:
        raise AtlasError(
            f"the database of the tool sql can't be opened: {one_line(error)}"
        ) from error
    try:
        _run(connection, "BEGIN READ ONLY")
        yield connection
    finally:
        connection.close()


def _run(connection: psycopg.Connection[Any], statement: str) -> pq.abc.PGresult:
    """Run a single statement, and return values as text.

    Raises:
        QueryError: It fails.
    """
    if "\0" in statement:
        raise QueryError("a query holds no zero bytes")
    # With this call of the protocol a second statement behind a semicolon is an error.
    found = connection.pgconn.exec_params(statement.encode("utf-8", "replace"), None)
    if found.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        return found
    told = found.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or found.error_message
    hint = found.error_field(pq.DiagnosticField.MESSAGE_HINT)
    words = [_text(told), _text(hint)]
    raise QueryError(one_line(". ".join(filter(None, words))))


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")
