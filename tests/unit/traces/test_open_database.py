"""What a user may call a database, and where it leads."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.traces import open_database
from atlas.traces.open_database import data_folder, database
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.postgres.writing import write_sessions
from atlas.traces.store import SessionQuery

ALL = SessionQuery()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in open_database.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "url", ["postgresql://a:b@h:1/d", "postgres://h/d", "host=h dbname=d", "dbname = d"]
)
def test_a_url_is_taken_as_it_stands(url: str) -> None:
    with database(url) as db_url:
        assert db_url == url


def test_a_url_that_can_t_be_read_is_refused_without_its_password() -> None:
    with (
        pytest.raises(AtlasError, match="db_url can't be read") as caught,
        database("postgresql://u:se cret@[h/d"),
    ):
        pass
    assert "cret" not in str(caught.value)


def test_a_run_directory_its_data_folder_and_the_prefix_are_one_database(
    server_folder: Path, make_session
) -> None:
    run = server_folder / "run"
    with database(run / "pg", create=True) as db_url:
        write_sessions(db_url, [make_session(0)])
        for place in (str(run), run / "pg", f"embedded:{run}/pg", f"embedded:{run}"):
            with database(place) as again:
                assert PostgresTraceStore(again).count(ALL) == 1, place


def test_the_environment_is_asked_in_the_sdk_s_order_and_what_it_names_is_said(
    monkeypatch: pytest.MonkeyPatch, fresh_db_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DATABASE_URL", fresh_db_url)
    with database() as db_url:
        assert db_url == fresh_db_url
    assert "as the environment's DATABASE_URL says" in caplog.text
    monkeypatch.setenv("STORAGE__DATABASE_URL", "postgresql://a:secret@localhost:1/first")
    with (
        pytest.raises(AtlasError, match=r"STORAGE__DATABASE_URL .*database first on localhost:1"),
        database(),
    ):
        pass
    with database("postgresql://given/d") as db_url:
        assert db_url == "postgresql://given/d"


def test_without_any_name_it_is_the_guide_s_database(
    monkeypatch: pytest.MonkeyPatch, fresh_db_url: str
) -> None:
    assert open_database.DEFAULT_DB_URL == "postgresql://atlas:atlas@localhost:5433/atlas"
    monkeypatch.setattr(open_database, "DEFAULT_DB_URL", fresh_db_url)
    with database() as db_url:
        assert db_url == fresh_db_url
    nobody = "postgresql://atlas:atlas@localhost:1/atlas"
    monkeypatch.setattr(open_database, "DEFAULT_DB_URL", nobody)
    with pytest.raises(AtlasError, match=r"no database was named.*give --database-url"), database():
        pass
    with pytest.raises(AtlasError, match=r"give --path .*as in --path"), database(option="--path"):
        pass


def test_a_folder_without_a_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, reason in ((empty, "holds no PostgreSQL"), (tmp_path / "gone", "isn't there")):
        with pytest.raises(AtlasError, match=reason), database(str(folder)):
            pass
        with pytest.raises(AtlasError, match=reason):
            data_folder(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]
