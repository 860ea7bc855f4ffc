"""Data that somebody else made: nothing of it is run, and nothing outside of it is touched."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from atlas.errors import AtlasError
from atlas.traces.embedded.server import EmbeddedPostgres
from atlas.traces.embedded.watch import confine
from atlas.traces.open_database import database
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.postgres.writing import write_sessions
from atlas.traces.store import SessionQuery

ALL = SessionQuery()


@pytest.fixture(scope="module")
def original() -> Iterator[Path]:
    base = Path(tempfile.mkdtemp(prefix="atlas-tests-"))
    with EmbeddedPostgres.start(base / "pg") as server:
        write_sessions(server.db_url, [])
    yield base / "pg"
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def received(original: Path) -> Iterator[Path]:
    """A copy of a data folder, where the server's user gets to."""
    base = Path(tempfile.mkdtemp(prefix="atlas-tests-"))
    shutil.copytree(original, base / "pg")
    owner = original.stat()
    for path in (base / "pg", *(base / "pg").rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    yield base / "pg"
    shutil.rmtree(base, ignore_errors=True)


def execute(data: Path, *statements: str) -> None:
    """Prepare the data as its maker could, with settings that are ours to give."""
    with (
        EmbeddedPostgres.start(data) as server,
        psycopg.connect(server.db_url, autocommit=True) as connection,
    ):
        for statement in statements:
            connection.execute(statement.encode())


def count(data: Path) -> int:
    with database(data) as db_url:
        return PostgresTraceStore(db_url, retry_s=0).count(ALL)


def mark_beside(data: Path) -> Path:
    """Return a file that everybody, the server's user too, could write."""
    data.parent.chmod(0o777)
    return data.parent / "ran"


def test_commands_in_a_configuration_are_not_run(received: Path) -> None:
    mark = mark_beside(received)
    with (received / "postgresql.conf").open("a") as file:
        file.write(f"archive_mode = on\narchive_command = 'touch {mark}'\n")
        file.write("shared_preload_libraries = '/nowhere.so'\ninclude '/nowhere.conf'\n")
    (received / "pg_hba.conf").write_text("local all all reject\n")

    assert count(received) == 0
    assert not mark.exists()


def settings_by_alter_system(data: Path) -> None:
    with (data / "postgresql.auto.conf").open("a") as file:
        file.write("\t archive_command = 'touch ran'\n")


def standby(data: Path) -> None:
    (data / "standby.signal").touch()


def link_to_elsewhere(data: Path) -> None:
    (data.parent / "precious").write_text("keep me")
    (data / "server.log").unlink()
    (data / "server.log").symlink_to(data.parent / "precious")


def lock_that_is_a_link(data: Path) -> None:
    (data.parent / "precious").write_text("keep me")
    data.with_name("pg.lock").symlink_to(data.parent / "precious")


def lock_that_is_two_files(data: Path) -> None:
    (data.parent / "precious").write_text("keep me")
    data.with_name("pg.lock").hardlink_to(data.parent / "precious")


@pytest.mark.parametrize(
    ("prepare", "named"),
    [
        (settings_by_alter_system, "postgresql.auto.conf"),
        (standby, "standby.signal"),
        (link_to_elsewhere, "server.log"),
        (lock_that_is_a_link, "pg.lock"),
        (lock_that_is_two_files, "pg.lock"),
    ],
)
def test_what_nothing_overrides_is_refused(
    prepare: Callable[[Path], None], named: str, received: Path
) -> None:
    prepare(received)
    with pytest.raises(AtlasError, match=rf"^{received.parent}\S*/{named}"):
        count(received)
    precious = received.parent / "precious"
    assert not precious.exists() or precious.read_text() == "keep me"


def test_what_runs_at_a_login_is_not_run(received: Path) -> None:
    execute(
        received,
        "CREATE FUNCTION at_login() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO sessions (task, status) VALUES ('ran', 'succeeded'); END $$",
        "CREATE EVENT TRIGGER at_login ON login EXECUTE FUNCTION at_login()",
        "ALTER EVENT TRIGGER at_login ENABLE ALWAYS",
        "ALTER DATABASE postgres SET event_triggers = on",
        "ALTER DATABASE postgres SET session_preload_libraries = '/nowhere.so'",
        "ALTER ROLE postgres SET search_path = elsewhere",
    )
    assert count(received) == 0


VIEW = (
    "ALTER TABLE sessions RENAME TO others",
    "CREATE VIEW sessions AS SELECT * FROM others",
)
TRIGGER = (
    "CREATE FUNCTION ran() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
    "CREATE TRIGGER ran BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION ran()",
)
OWN_TYPE = (
    "CREATE DOMAIN words AS TEXT",
    "ALTER TABLE sessions ALTER task TYPE words",
)
ROW_SECURITY = ("ALTER TABLE sessions ENABLE ROW LEVEL SECURITY",)


@pytest.mark.parametrize("statements", [VIEW, TRIGGER, OWN_TYPE, ROW_SECURITY])
def test_tables_that_could_run_code_are_not_read(statements: tuple[str], received: Path) -> None:
    execute(received, *statements)
    with pytest.raises(AtlasError, match="sessions is no plain table"):
        count(received)


def landlock_is_there() -> bool:
    """Tell whether the kernel can confine at all; asked in a child, as there is no way back."""
    child = os.fork()
    if child == 0:
        os._exit(not confine([os.devnull], ["/"]))
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not landlock_is_there(), reason="the kernel has no Landlock")
def test_even_the_databases_own_administrator_reaches_nothing_outside(received: Path) -> None:
    mark = mark_beside(received)
    with EmbeddedPostgres.start(received) as server:
        for statement in (
            f"COPY (SELECT 1) TO PROGRAM 'touch {mark}'",
            f"COPY (SELECT 1) TO '{mark}'",
        ):
            with (
                psycopg.connect(server.db_url, autocommit=True) as connection,
                pytest.raises(psycopg.Error, match=r"ermission denied|could not execute"),
            ):
                connection.execute(statement.encode())
    assert not mark.exists()
