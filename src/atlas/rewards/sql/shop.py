"""The database of a shop, made from a number: who bought what, and when.

Input: a number. Output: its rows. The same everywhere: questions are worked out from them in
SQLite, in memory, and a student's queries run on a PostgreSQL with the same rows.
"""

from __future__ import annotations

import hashlib
import random
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cache
from typing import Any, Final

NUM_SHOPS: Final = 16
TABLES: Final[Mapping[str, str]] = {
    "customers": "id integer PRIMARY KEY, name text, city text",
    "products": "id integer PRIMARY KEY, name text, category text, price integer",
    "orders": "id integer PRIMARY KEY, customer_id integer REFERENCES customers, day date",
    "items": (
        "order_id integer REFERENCES orders, product_id integer REFERENCES products, "
        "quantity integer"
    ),
}
"""Name -> columns, as both SQLite and PostgreSQL take them; in the order in which they are made."""
NAMES: Final = (
    *("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gita", "Hugo", "Ida", "Jan", "Kira", "Leo"),
    *("Mia", "Nils", "Olga", "Paul", "Rosa", "Sven", "Tara", "Uwe", "Vera", "Wim", "Yara", "Zoe"),
)
CITIES: Final = ("Oslo", "Bern", "Lyon", "Graz", "Turin", "Porto", "Ghent")
PRODUCTS: Final[Mapping[str, tuple[str, ...]]] = {
    "kitchen": ("kettle", "pan", "knife", "mug", "grater", "whisk"),
    "garden": ("spade", "rake", "hose", "pot", "lantern", "shears"),
    "office": ("stapler", "lamp", "ruler", "folder", "pen", "desk"),
}
"""Category -> names."""
_DATABASE = re.compile(r"shop_(\d{1,3})", re.ASCII)

Rows = Mapping[str, Sequence[tuple[Any, ...]]]
"""By table."""


def number_of(database: str) -> int | None:
    """Return the number of the shop that a task's ``database`` names; None where there is none."""
    found = _DATABASE.fullmatch(database)
    return int(found[1]) if found and int(found[1]) < NUM_SHOPS else None


@cache
def shop(number: int) -> Rows:
    """Return the rows of a shop."""
    rng = random.Random(f"shop/{number}")
    cities = rng.sample(CITIES, 4)
    customers = [(n, name, rng.choice(cities)) for n, name in enumerate(rng.sample(NAMES, 12), 1)]
    wares = [(name, kind) for kind, names in PRODUCTS.items() for name in rng.sample(names, 4)]
    products = [(n, name, kind, rng.randint(3, 60)) for n, (name, kind) in enumerate(wares, 1)]
    buyers = rng.sample(range(1, 13), 10)  # two have never bought anything
    orders = [
        (n, rng.choice(buyers), f"2025-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}")
        for n in range(1, 31)
    ]
    items = [
        (order, product, rng.randint(1, 9))
        for order, *_ in orders
        for product in sorted(rng.sample(range(1, len(wares) + 1), rng.randint(1, 3)))
    ]
    return {"customers": customers, "products": products, "orders": orders, "items": items}


def digest(number: int) -> str:
    """Return a hash of what is in a shop, tables and rows."""
    return hashlib.sha256(repr((dict(TABLES), shop(number))).encode()).hexdigest()[:8]


def work_out(number: int, query: str) -> list[str]:
    """Return the values of a query of one column, as text; for questions, not for students."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for table, columns in TABLES.items():
            connection.execute(f"CREATE TABLE {table} ({columns})")
            rows = shop(number)[table]
            blanks = ", ".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO {table} VALUES ({blanks})", rows)
        return [str(value) for (value,) in connection.execute(query) if value is not None]
