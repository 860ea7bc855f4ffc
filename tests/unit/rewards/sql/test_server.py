"""Queries of a student on a real server: what they see, and everything that they may not do."""

from __future__ import annotations

import pytest

from atlas.errors import AtlasError
from atlas.rewards.sql.server import QueryError, read
from atlas.rewards.sql.shop import TABLES, shop

pytestmark = pytest.mark.usefixtures("shops")


def test_a_shop_on_the_server_is_the_shop_of_the_questions() -> None:
    for table, rows in shop(3).items():
        found = read("shop_3", f"SELECT * FROM {table}", max_rows=1000)
        assert sorted(found.rows) == sorted(tuple(map(str, row)) for row in rows)
        assert found.columns == tuple(column.split()[0] for column in TABLES[table].split(", "))


def test_rows_beyond_the_limit_are_cut_and_it_is_said() -> None:
    table = read("shop_3", "SELECT i.* FROM items i, items j ORDER BY 1;", max_rows=7)
    assert (len(table.rows), table.cut) == (7, True)
    assert not read("shop_3", "SELECT 1 -- the end").cut


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("DELETE FROM items", "only a SELECT"),
        ("COPY customers TO '/tmp/x'", "only a SELECT"),
        ("WITH x AS (DELETE FROM items RETURNING *) SELECT * FROM x", "data-modifying"),
        ("SELECT * INTO x FROM customers", "not allowed here"),
        ("SELECT * FROM customers FOR UPDATE", "read-only transaction"),
        ("SELECT 1; SELECT 2", "syntax error"),
        ("SELECT 1) a; DROP TABLE items; --", "syntax error"),
        ("SELECT pg_read_file('/etc/passwd')", "permission denied"),
        ("SELECT pg_ls_dir('/')", "permission denied"),
        ("SELECT lo_import('/etc/passwd')", "permission denied"),
        ("SELECT lo_create(1)", "permission denied"),
        ("SELECT set_config('statement_timeout', '0', false)", "permission denied"),
        ("SELECT pg_sleep(100)", "permission denied"),
        ("SELECT pg_advisory_lock(1)", "permission denied"),
        ("SELECT query_to_xml('SELECT 1', true, true, '')", "permission denied"),
        ("SELECT * FROM pg_authid", "permission denied"),
        ("SELECT * FROM pg_stat_activity", "permission denied"),
        ("SELECT repeat('x', 200000)", "longer than 100,000 bytes"),
        ("SELECT nope FROM customers", "does not exist"),
        ("SELECT \0", "zero bytes"),
    ],
)
def test_what_a_query_may_not_do_or_cant_is_refused(query: str, reason: str) -> None:
    with pytest.raises(QueryError, match=reason):
        read("shop_3", query)


def test_a_query_sees_no_other_shop() -> None:
    read("shop_4", "SELECT 1")
    (other,) = read("shop_3", "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'shop_4_%'").rows
    with pytest.raises(QueryError, match="permission denied for schema"):
        read("shop_3", f'SELECT * FROM "{other[0]}".customers')


def test_a_query_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atlas.rewards.sql.server.TIME_LIMIT", 0.1)
    with pytest.raises(QueryError, match="statement timeout"):
        read("shop_3", "SELECT count(*) FROM items a, items b, items c, items d, items e")


@pytest.mark.parametrize("name", ["", "postgres", "shop_99", "shop_3; DROP", "shop_-1"])
def test_there_are_the_shops_and_no_other_databases(name: str) -> None:
    with pytest.raises(AtlasError, match="there is no database"):
        read(name, "SELECT 1")
