"""Word problems of one step, for small real models: each has one product behind its words.

Input: a random number generator. Output: a `Task` with whole numbers, that the verifier ``numeric``
reads. A model of 100 million weights works ``8 * 4`` when it is asked just that, and mostly fails
when it has to find that in a sentence: what a teacher can do for it. With sums it is the other way
round, so that there are none here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from atlas.types import Task

_ITEMS = ("apples", "books", "cups", "pens", "balls", "eggs", "coins", "cards", "shells", "stamps")
_HOLDERS = ("boxes", "bags", "baskets", "shelves", "drawers", "jars", "trays", "crates")
_NAMES = ("Tom", "Ann", "Ben", "Eva", "Max", "Lea", "Sam", "Mia", "Leo", "Zoe", "Jan", "Ida")
_PLACES = (
    ("hall", "seats"),
    ("garden", "trees"),
    ("car park", "cars"),
    ("shelf", "books"),
    ("page", "stamps"),
    ("wall", "tiles"),
    ("field", "plants"),
    ("box", "eggs"),
)
_KINDS = ("small", "large", "new", "quiet", "nice", "plain")
_WORKS = ("reads", "prints", "copies", "translates", "writes", "checks", "types")


def boxes(rng: random.Random) -> Task:
    """Return how many things are in several holders of equally many."""
    holders, each = rng.randint(2, 9), rng.randint(2, 9)
    items = rng.choice(_ITEMS)
    asked = f"There are {holders} {rng.choice(_HOLDERS)} with {each} {items} each."
    return _task("boxes", f"{asked} How many {items} are there?", holders * each)


def pages(rng: random.Random) -> Task:
    """Return what somebody does in several days, as much each day."""
    name, work = rng.choice(_NAMES), rng.choice(_WORKS)
    each, days = rng.randint(2, 9), rng.randint(2, 9)
    asked = f"{name} {work} {each} pages a day. How many pages are that in {days} days?"
    return _task("pages", asked, each * days)


def cents(rng: random.Random) -> Task:
    """Return what several equal things cost."""
    name, items = rng.choice(_NAMES), rng.choice(_ITEMS)
    number, price = rng.randint(2, 9), rng.randint(2, 9)
    asked = f"{name} buys {number} {items} for {price} cents each. How many cents are that?"
    return _task("cents", asked, number * price)


def rows(rng: random.Random) -> Task:
    """Return how many places are in equally long rows."""
    place, items = rng.choice(_PLACES)
    number, each = rng.randint(2, 9), rng.randint(2, 9)
    asked = f"A {rng.choice(_KINDS)} {place} has {number} rows of {each} {items}."
    return _task("rows", f"{asked} How many {items} does it have?", number * each)


WORD_PROBLEMS: Mapping[str, Callable[[random.Random], Task]] = {
    "boxes": boxes,
    "pages": pages,
    "cents": cents,
    "rows": rows,
}
"""By family."""


def _task(family: str, question: str, answer: int) -> Task:
    metadata = {"verifier": "numeric"}
    return Task(question=question, answer=str(answer), family=family, metadata=metadata)
