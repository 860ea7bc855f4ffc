"""The pages of both guides: a row for every statement, and a count that is that of the rows."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_number_of_the_guides_has_a_row() -> None:
    """Of docs/guides: each statement and each contradiction stands in one table, once."""
    counts = {"A": 43, "B": 104, "C": 13, "D": 34}
    pages = [ROOT / "docs" / "guides" / name for name in ("from-scratch.md", "custom-teacher.md")]
    tables = [page.read_text().partition("## How many hold")[0] for page in pages]
    found = [number for table in tables for number in numbers_of(table)]
    expected = [(part, n) for part, count in counts.items() for n in range(1, count + 1)]
    assert sorted(found) == expected
    # And the count at the end is of those that it names.
    end = pages[1].read_text().partition("## How many hold")[2]
    missing = numbers_of(end)
    assert len(set(missing)) == len(missing)
    total = len(expected)
    assert f"Of the {total} numbers" in end
    assert f"{total - len(missing)} hold" in end
    assert f"The other {len(missing)}," in end


def numbers_of(table: str) -> list[tuple[str, int]]:
    """Return the numbers in the first cells of a page's rows; ``B7–B9`` are three."""
    cells = re.findall(r"^\| ((?:[A-D]\d+(?:–[A-D]?\d+)? ?)+)\|", table, re.MULTILINE)
    found: list[tuple[str, int]] = []
    for part, first, last in re.findall(r"([A-D])(\d+)(?:–[A-D]?(\d+))?", " ".join(cells)):
        found += [(part, n) for n in range(int(first), int(last or first) + 1)]
    return found


def test_a_range_of_numbers_is_taken_apart() -> None:
    rows = "| B1 B33–35 | x |\n| A7–A9 | B2 |\n| Word | C1 |\n"
    assert numbers_of(rows) == [("B", 1), ("B", 33), ("B", 34), ("B", 35)] + [
        ("A", n) for n in (7, 8, 9)
    ]
