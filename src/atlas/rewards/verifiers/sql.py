"""The answer is what a query of a database returns: the values, or a query that returns them.

Settings in ``Task.metadata``: ``database``, the shop that the task is about. The reference holds
the values of one column, in any order, with commas between them. A query that is answered is run,
and its rows are held against them: as many, and the same.
"""

from __future__ import annotations

import re
from collections import Counter

from atlas.errors import AtlasError
from atlas.rewards.sql.server import QueryError, read
from atlas.rewards.verifiers.answers import bare
from atlas.rewards.verifiers.reference import says_the_same
from atlas.rewards.verifiers.verdict import Verdict, cannot_tell, right_or_wrong
from atlas.types import Task

_QUERY = re.compile(r"(?is)^\s*(?:select|with)\s.*\bfrom\b")
_BETWEEN = re.compile(r"\s*(?:,\s*and\b|[,;\n]|\band\b)\s*")
_MAX_ROWS = 200


def sql_verdict(task: Task, answer: str) -> Verdict:
    """Hold an answer against the reference, as values or as a query."""
    reference = _values(task.answer)
    text = answer.strip().strip("`")
    if not _QUERY.match(text):
        # The one value that a reference is may have a comma or an "and" in it.
        same = says_the_same(answer, task.answer) or _are(_values(answer), reference)
        return right_or_wrong(same, "it isn't what the database holds")
    try:
        table = read(str(task.metadata.get("database", "")), text, max_rows=_MAX_ROWS)
    except QueryError as error:
        return right_or_wrong(False, f"the query has no result: {error}")
    except AtlasError as error:
        return cannot_tell(str(error))
    if len(table.columns) != 1:
        return right_or_wrong(False, f"the query returns {len(table.columns)} columns, not one")
    found = [value or "" for (value,) in table.rows]
    return right_or_wrong(_are(found, reference), "the query returns something else")


def _values(text: str) -> list[str]:
    listed = re.sub(r"(?m)^\s*(?:[-*•]|\d+[.)])\s+", "", text.strip().strip("[]()"))
    return [bare(one).strip("'\"") for one in _BETWEEN.split(listed) if one.strip()]


def _are(found: list[str], wanted: list[str]) -> bool:
    """Tell whether two results are the same, in whatever order."""
    if len(found) != len(wanted):
        return False
    if len(wanted) == 1:
        return says_the_same(found[0], wanted[0])
    return Counter(one.casefold() for one in found) == Counter(one.casefold() for one in wanted)
