"""An embedded PostgreSQL server for every test that needs a real database."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from atlas.rewards.sql import server
from atlas.traces.embedded.server import EmbeddedPostgres
from atlas.traces.postgres.writing import ensure_schema


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """An empty folder for a test that starts servers of its own, removed afterwards."""
    folder = _make_folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _make_folder() -> Path:
    # Not under pytest's own folder: where root runs the tests, PostgreSQL's user can't go there
    # whenever another run of pytest closes that folder again.
    return Path(tempfile.mkdtemp(prefix="atlas-tests-"))


@pytest.fixture(scope="session")
def embedded_db_url() -> Iterator[str]:
    """The ``db_url`` of a server without tables; what a test writes there, the next one sees."""
    folder = _make_folder()
    try:
        with EmbeddedPostgres.start(folder / "pg") as running:
            with psycopg.connect(running.db_url, autocommit=True) as connection:
                # Nothing here must survive a power cut.
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("SELECT pg_reload_conf()")
            yield running.db_url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shops() -> Iterator[None]:
    """The databases that questions of the sql families are about, on a server of the tests' own."""
    folder = _make_folder()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server, "cache_folder", lambda: folder)
            yield
            server.close_servers()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def empty_db_url(embedded_db_url: str) -> Iterator[str]:
    """The ``db_url`` of a new place without tables: a schema, ten times faster than a database."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(embedded_db_url, autocommit=True) as connection:
        connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(name)))
    yield f"{embedded_db_url}&options=-csearch_path%3D{name}"
    with psycopg.connect(embedded_db_url, autocommit=True) as connection:
        connection.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(name)))


@pytest.fixture
def fresh_db_url(empty_db_url: str) -> str:
    """The ``db_url`` of a new place with the tables of a trace database, all of them empty."""
    ensure_schema(empty_db_url)
    return empty_db_url
