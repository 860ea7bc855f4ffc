"""Connections to a trace database, and its errors in the user's words.

Stage: under ``postgres`` and ``postgres_write``. A ``db_url`` -> a connection; a driver's error ->
an ``AtlasError`` that names host, port and database and never the password.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Final, LiteralString, TypeVar, cast

import psycopg
from psycopg import errors, pq
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from psycopg.types.datetime import TimestamptzLoader

from atlas.errors import AtlasError, OutageError
from atlas.json_file import MAX_DIGITS, is_too_deep

Connection = psycopg.Connection[TupleRow]

T = TypeVar("T")

DEFAULT_DB_URL = "postgresql://atlas:atlas@localhost:5433/atlas"
"""The database that the guide and the Atlas SDK start with."""

EMBEDDED: Final = "atlas-embedded"
"""The application's name in the ``db_url`` of a server that Atlas runs itself."""

CONNECT_TIMEOUT_S = 10
RETRY_PAUSE_S = 0.2

_DRIVER: Final = re.compile(r"\w+\+\w+://")

_NOT_PLAIN: Final = """
    SELECT relname FROM pg_catalog.pg_class AS c
    WHERE relnamespace = 'public'::pg_catalog.regnamespace AND relname IN ('sessions', 'plans',
            'step_results', 'step_attempts', 'guidance_notes', 'trajectory_events')
        AND (relkind <> 'r' OR relhasrules OR relrowsecurity
            OR EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal)
            OR EXISTS (SELECT FROM pg_catalog.pg_attribute
                WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
                    AND (atttypid >= 16384::pg_catalog.oid OR attgenerated <> '')))
"""
"""Relations that can run code when they are read or written: views, rules, triggers, own types."""

_MORE: Final = {"PGSERVICEFILE", "PGTZ", "PGDATESTYLE", "PGGEQO", "PGSYSCONFDIR", "PGLOCALEDIR"}
"""Variables of PostgreSQL's clients that stand for no part of a ``db_url``."""


def _number(digits: str) -> float | str:
    value = float(digits)
    return digits if math.isinf(value) else value


def _whole(digits: str) -> int | str:
    return digits if len(digits) > MAX_DIGITS else int(digits)


# The call that ``JSONDecoder.raw_decode`` makes; the types of the standard library lack it.
_scan_json: Callable[[str, int], tuple[Any, int]] = cast(
    "Any", json.JSONDecoder(parse_float=_number, parse_int=_whole)
).scan_once


def describe(db_url: str) -> str:
    """Return ``PostgreSQL database NAME on HOST:PORT``: enough to find it, nothing secret.

    Raises:
        AtlasError: ``db_url`` can't be read. The text does not repeat it.
    """
    parts = read_url(db_url)
    return place_name(
        parts.get("host") or parts.get("hostaddr"), parts.get("port"), parts.get("dbname")
    )


def read_url(db_url: str) -> dict[str, Any]:
    """Return the parts of a ``db_url`` by the names that PostgreSQL's tools give them.

    Raises:
        AtlasError: It can't be read, or a password in it would be taken for another part. The
            text does not repeat it.
    """
    if (scheme := _DRIVER.match(db_url)) is not None:
        raise AtlasError(
            f"db_url begins with {scheme[0]}, which names a driver of SQLAlchemy: write "
            "postgresql:// instead"
        )
    # Neither the driver's text nor its traceback may be shown: both quote the password. Bytes that
    # are no UTF-8 on a command line come as halves of surrogate pairs.
    with suppress(psycopg.ProgrammingError, UnicodeError):
        parts = conninfo_to_dict(db_url)
        if not _is_ambiguous(db_url) and re.fullmatch(r"[\d,]*", str(parts.get("port") or "")):
            return parts
    raise unreadable()


def unreadable() -> AtlasError:
    """Return the error of what is no ``db_url``; it repeats nothing, as a password may be in it."""
    return AtlasError(
        "db_url can't be read: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with "
        "special characters in it percent-encoded, such as %40 for @ and %2F for /"
    )


def _is_ambiguous(db_url: str) -> bool:
    """Return whether a URL has an ``@`` that ends no user, so that what is before it is shown."""
    _, separator, rest = db_url.partition("://")
    if not separator:
        return False
    user, found, after = rest.partition("@")
    before = after if found and "/" not in user else rest
    return "@" in before.partition("?")[0]


def place_name(host: object, port: object, database: object) -> str:
    """Return the words for a database in a message."""
    server = host if "/" in str(host) else f"{host or 'the local socket'}:{port or 5432}"
    return f"PostgreSQL database {database or 'of the user'} on {server}"


def connect(db_url: str) -> Connection:
    """Open a connection in autocommit mode, times in UTC.

    Raises:
        AtlasError: the server can't be reached, or lets nobody in.
    """
    place = describe(db_url)
    parts = read_url(db_url)
    options: dict[str, Any] = {"connect_timeout": parts.get("connect_timeout", CONNECT_TIMEOUT_S)}
    ours = parts.get("application_name") == EMBEDDED
    try:
        with _without_client_variables() if ours else nullcontext():
            # No prepared statements: a pooler between us and the server may not know them again.
            connection = psycopg.connect(db_url, autocommit=True, prepare_threshold=None, **options)
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        for secret in (parts.get("password"), parts.get("sslpassword")):
            reason = reason.replace(str(secret), "***") if secret else reason
        # A server that answers refuses who asks: that is a matter of db_url.
        kind = AtlasError if "FATAL" in str(error) else OutageError
        raise kind(f"can't open {place}: {reason}; is it running, is db_url right?") from error
    connection.adapters.register_loader("jsonb", _JsonbLoader)
    connection.adapters.register_loader("timestamptz", _InstantLoader)
    with explained(place):
        connection.execute("SET TimeZone TO 'UTC'")
        if ours and (found := connection.execute(_NOT_PLAIN).fetchone()):
            connection.close()
            raise AtlasError(
                f"{place}: {found[0]} is no plain table, as Atlas makes them: reading it could run "
                "code of whoever made it; serve the data yourself and give its db_url"
            )
    return connection


@contextmanager
def _without_client_variables() -> Iterator[None]:
    """Hide variables such as PGHOSTADDR and PGOPTIONS: they are meant for another server."""
    names = {option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    kept = {name: os.environ.pop(name) for name in names | _MORE if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def rows_of(connection: Connection, statement: LiteralString, values: list[Any]) -> list[Any]:
    """Return all rows of a statement; ``values`` are bound, never part of the text."""
    return connection.execute(statement, values).fetchall()


class _JsonbLoader(Loader):
    """Reads a document as the server sends it: UTF-8 with nothing around it.

    ``json.loads`` looks for another encoding and for blanks, in several calls a document; there are
    some thirty documents in a session. What jsonb holds and Python doesn't stays text: a number of
    more digits than Python reads, or a document nested deeper than Atlas writes. So does what no
    PostgreSQL sends: blanks in front, or no JSON at all.
    """

    def load(self, data: Buffer) -> Any:
        """Return the value of a document."""
        text = str(data, "utf-8", "replace")
        try:
            return text if is_too_deep(bytes(data)) else _scan_json(text, 0)[0]
        except (StopIteration, ValueError):
            return text


class _InstantLoader(TimestamptzLoader):
    """Reads a time; one that Python doesn't have (infinity, years before Christ) stays text."""

    def load(self, data: Buffer) -> Any:
        """Return a datetime where it is one."""
        try:
            return super().load(data)
        except psycopg.DataError:
            return str(data, "utf-8", "replace")


@contextmanager
def read_only_snapshot(connection: Connection, timeout_s: float) -> Iterator[None]:
    """Run the block in a read-only transaction that sees one state of the database.

    Args:
        connection: In autocommit mode.
        timeout_s: A statement that takes longer is cancelled by the server.
    """
    connection.read_only = True
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with connection.transaction():
        connection.execute(
            "SELECT set_config('statement_timeout', %s, true)", [str(math.ceil(timeout_s * 1000))]
        )
        yield


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Turn the driver's errors in the block into an ``AtlasError`` about ``place``."""
    try:
        yield
    except (errors.UndefinedTable, errors.UndefinedColumn) as error:
        raise AtlasError(
            f"{place} is not an Atlas trace database: {_first_line(error)}; point db_url at one "
            "that the Atlas SDK (0.1.13 or later) or `atlas collect` has written"
        ) from error
    except errors.QueryCanceled as error:
        raise AtlasError(
            f"{place} took too long ({_first_line(error)}): narrow the filters or raise "
            "statement_timeout_s"
        ) from error
    except UnicodeEncodeError as error:
        raise AtlasError(f"{place}: {error.object!r} is no text that it can hold") from error
    except psycopg.Error as error:
        kind = OutageError if isinstance(error, psycopg.OperationalError) else AtlasError
        raise kind(f"{place}: {_first_line(error)}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """How to read from a database: where it is, and how patient to be with it."""

    db_url: str
    timeout_s: float
    """The server cancels a statement that takes longer, in seconds."""
    retry_s: float
    """How long to wait for a server that goes away in the middle, in seconds."""

    def __post_init__(self) -> None:
        """Refuse a ``db_url`` that can't be read before anything is read."""
        describe(self.db_url)

    @contextmanager
    def connected(self) -> Iterator[Callable[[Callable[[Connection], T]], T]]:
        """Give a function that runs its argument in a read-only snapshot.

        The argument is run again from its start on a new connection where the server went away,
        so it must have no effect but its result.
        """
        connection = connect(self.db_url)

        def read(work: Callable[[Connection], T]) -> T:
            nonlocal connection
            deadline = time.monotonic() + self.retry_s
            with explained(describe(self.db_url)):
                while True:
                    try:
                        with read_only_snapshot(connection, self.timeout_s):
                            return work(connection)
                    except psycopg.Error as error:
                        if not _may_pass(error) or time.monotonic() >= deadline:
                            raise
                        connection.close()
                    connection = _connect_until(self.db_url, deadline)

        try:
            yield read
        finally:
            connection.close()


def _connect_until(db_url: str, deadline: float) -> Connection:
    while True:
        try:
            return connect(db_url)
        except AtlasError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(RETRY_PAUSE_S)


def _may_pass(error: psycopg.Error) -> bool:
    """Return whether an error is one of a server that restarts, so that trying again helps."""
    gone = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
    return gone or isinstance(
        error,
        errors.AdminShutdown
        | errors.CrashShutdown
        | errors.CannotConnectNow
        | errors.ConnectionFailure
        | errors.ConnectionDoesNotExist,
    )


def _first_line(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error) or type(error).__name__
    return text.strip().splitlines()[0]
