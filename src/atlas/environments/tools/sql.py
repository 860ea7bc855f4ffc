"""The tool ``sql``: one read-only query of the task's own database, on the embedded PostgreSQL.

What it may do, and how much, is `atlas.rewards.sql.server`'s, which verifies answers with it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atlas.environments.tools.tool import Tool
from atlas.rewards.sql.server import open_server, read
from atlas.types import Task

_ABOUT = "Run one PostgreSQL SELECT on the database that the task is about, and see its rows."


def sql_tool() -> Tool:
    """Return the tool, its server started.

    Raises:
        AtlasError: The server can't be started.
    """
    open_server()
    query = {"type": "string", "description": "The SELECT statement."}
    return Tool(
        name="sql",
        description=_ABOUT,
        parameters={
            "type": "object",
            "properties": {"query": query},
            "required": ["query"],
            "additionalProperties": False,
        },
        call=_call,
    )


def _call(arguments: Mapping[str, Any], task: Task) -> str:
    database = task.metadata.get("database")
    if not isinstance(database, str):
        raise ValueError("this task has no database")
    table = read(database, arguments["query"])
    rows = [" | ".join("null" if value is None else value for value in row) for row in table.rows]
    more = f"(there are more than these {len(rows)} rows)" if table.cut else f"({len(rows)} rows)"
    return "\n".join([" | ".join(table.columns), *rows, more])
