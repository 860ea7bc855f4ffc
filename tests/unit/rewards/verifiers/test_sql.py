"""Answers as values, and as queries that return them."""

from __future__ import annotations

import pytest

from atlas.rewards.sql.shop import work_out
from atlas.rewards.verifiers.registry import accepts_reference, verify
from atlas.types import Task

pytestmark = pytest.mark.usefixtures("shops")
LIST = "SELECT name FROM customers WHERE id < 4"
NAMES = work_out(2, LIST)


def task(answer: str, database: str = "shop_2") -> Task:
    metadata = {"verifier": "sql", "database": database}
    return Task(question="?", answer=answer, family="sql_lookup", metadata=metadata)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (f"Answer: {', '.join(NAMES)}", True),
        (f"Answer: {NAMES[2]}, {NAMES[0]} and {NAMES[1]}", True),
        (f"Answer: ['{NAMES[0]}', '{NAMES[1]}', '{NAMES[2]}']", True),
        (f"Answer: {', '.join(NAMES[:2])}", False),
        (f"Answer: {', '.join(NAMES)}, {NAMES[0]}", False),
        (f"Answer: {LIST}", True),
        (f"Answer:\n```sql\n{LIST};\n```", True),
        (f"Answer: {LIST} ORDER BY name DESC", True),
        ("Answer: SELECT name FROM customers WHERE id < 3", False),
        (f"Answer: {LIST} UNION ALL {LIST}", False),
        ("Answer: SELECT id, name FROM customers WHERE id < 4", False),
        ("Answer: SELECT nam FROM customers", False),
        ("Answer: DELETE FROM customers", False),
    ],
)
def test_a_list_is_right_in_any_order_and_whole(text: str, right: bool) -> None:
    verdict = verify(task(", ".join(NAMES)), text)
    assert (verdict.correct, verdict.score is not None) == (right, True)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Answer: 12", True),
        ("Answer: 12.0", True),
        ("Answer: 13", False),
        ("Answer: SELECT count(*) FROM customers", True),
        ("Answer: SELECT 12 FROM customers LIMIT 1", True),
        ("Answer: SELECT count(*) FROM orders", False),
    ],
)
def test_a_number(text: str, right: bool) -> None:
    assert verify(task("12"), text).correct is right


def test_a_query_of_a_database_that_there_is_not_is_no_wrong_answer() -> None:
    assert verify(task("12", "nowhere"), "Answer: SELECT count(*) FROM customers").score is None
    assert accepts_reference(task("12", "nowhere")) is None
