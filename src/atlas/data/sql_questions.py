"""Questions about the database of a shop, in three levels, for students who can query it.

Input: a random number generator. Output: a `Task` whose answer is what a query returns, for the
verifier ``sql``. A question names its shop and the tables, so that it can be answered by a query
without having seen the database, too::

    sql_lookup   one table                         How many products cost more than 20?
    sql_join     two to four, and a sum            How much did Ada spend in all?
    sql_nested   what isn't there, what is most    Which customers never ordered anything for ...?
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from functools import partial

from atlas.rewards.sql.shop import NUM_SHOPS, PRODUCTS, Rows, shop, work_out
from atlas.types import Task

_Asked = tuple[str, str]
"""A question, and the query that answers it."""
_MONTHS = {"March": "03", "June": "06", "August": "08", "October": "10", "December": "12"}
_ORDERED = (
    "customers c JOIN orders o ON o.customer_id = c.id JOIN items i ON i.order_id = o.id "
    "JOIN products p ON p.id = i.product_id"
)
_COLUMNS = (
    "customers(id, name, city), products(id, name, category, price), "
    "orders(id, customer_id, day), items(order_id, product_id, quantity)"
)


def _lookup(rng: random.Random, rows: Rows) -> _Asked:
    city, price = rng.choice(rows["customers"])[2], rng.randint(8, 50)
    name = rng.choice(rows["products"])[1]
    return rng.choice(
        [
            (
                f"How many customers live in {city}?",
                f"SELECT count(*) FROM customers WHERE city = '{city}'",
            ),
            (
                f"Which customers live in {city}?",
                f"SELECT name FROM customers WHERE city = '{city}' ORDER BY name",
            ),
            (
                f"How much does one {name} cost?",
                f"SELECT price FROM products WHERE name = '{name}'",
            ),
            (
                f"How many products cost more than {price}?",
                f"SELECT count(*) FROM products WHERE price > {price}",
            ),
        ]
    )


def _join(rng: random.Random, rows: Rows) -> _Asked:
    _, customer, city = rng.choice(rows["customers"])
    _, product, category, _ = rng.choice(rows["products"])
    month, number = rng.choice(list(_MONTHS.items()))
    # Both SQLite and PostgreSQL compare these: a date with a text, a text with a text.
    days = f"o.day >= '2025-{number}-01' AND o.day <= '2025-{number}-28'"
    return rng.choice(
        [
            (
                f"How many orders were placed by customers from {city}?",
                "SELECT count(*) FROM orders o JOIN customers c ON c.id = o.customer_id "
                f"WHERE c.city = '{city}'",
            ),
            (
                f"How many pieces of the {product} were sold in all?",
                f"SELECT sum(i.quantity) FROM {_ORDERED} WHERE p.name = '{product}'",
            ),
            (
                f"How much did {customer} spend in all?",
                f"SELECT sum(i.quantity * p.price) FROM {_ORDERED} WHERE c.name = '{customer}'",
            ),
            (
                f"Which customers ordered in {month} 2025?",
                "SELECT DISTINCT c.name FROM customers c JOIN orders o ON o.customer_id = c.id "
                f"WHERE {days} ORDER BY c.name",
            ),
            (
                f"How much money came in for the category {category}?",
                f"SELECT sum(i.quantity * p.price) FROM {_ORDERED} WHERE p.category = '{category}'",
            ),
        ]
    )


def _nested(rng: random.Random, rows: Rows) -> _Asked:
    city, (one, other) = rng.choice(rows["customers"])[2], rng.sample(list(rows["products"]), 2)
    category = rng.choice(list(PRODUCTS))
    spent = f"SELECT c.id, sum(i.quantity * p.price) AS total FROM {_ORDERED} GROUP BY c.id"
    by_city = f"SELECT c.city, sum(i.quantity * p.price) AS total FROM {_ORDERED} GROUP BY c.city"

    def ordered(column: str, value: str) -> str:
        return f"SELECT c.id FROM {_ORDERED} WHERE {column} = '{value}'"

    return rng.choice(
        [
            (
                f"Which customers have never ordered anything of the category {category}?",
                "SELECT name FROM customers WHERE id NOT IN "
                f"({ordered('p.category', category)}) ORDER BY name",
            ),
            (
                f"Which customers have ordered both the {one[1]} and the {other[1]}?",
                f"SELECT name FROM customers WHERE id IN ({ordered('p.name', one[1])}) "
                f"AND id IN ({ordered('p.name', other[1])}) ORDER BY name",
            ),
            (
                "From which city did the most money come?",
                f"SELECT city FROM ({by_city}) t WHERE total = "
                f"(SELECT max(total) FROM ({by_city}) m)",
            ),
            (
                "How many customers spent more than the customers who ordered did on average?",
                f"SELECT count(*) FROM ({spent}) t WHERE total > "
                f"(SELECT avg(total) FROM ({spent}) m)",
            ),
            (
                f"How much more did customers from {city} spend on {category} than on anything "
                "else?",
                "SELECT sum(CASE WHEN p.category = "
                f"'{category}' THEN 1 ELSE -1 END * i.quantity * p.price) FROM {_ORDERED} "
                f"WHERE c.city = '{city}'",
            ),
        ]
    )


def _task(family: str, make: Callable[[random.Random, Rows], _Asked], rng: random.Random) -> Task:
    while True:
        number = rng.randrange(NUM_SHOPS)
        question, query = make(rng, shop(number))
        values = work_out(number, query)
        if values and not re.fullmatch(r"0|-\d+", values[0]):
            break
    told = f"{question} The database is that of shop {number}. Its tables: {_COLUMNS}."
    metadata = {"verifier": "sql", "database": f"shop_{number}"}
    return Task(question=told, answer=", ".join(values), family=family, metadata=metadata)


QUERIES: Mapping[str, Callable[[random.Random, Rows], _Asked]] = {
    "sql_lookup": _lookup,
    "sql_join": _join,
    "sql_nested": _nested,
}
"""By family: a question and the query that answers it."""
SQL_QUESTIONS: Mapping[str, Callable[[random.Random], Task]] = {
    family: partial(_task, family, make) for family, make in QUERIES.items()
}
"""By family."""
