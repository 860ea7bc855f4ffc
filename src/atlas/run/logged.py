"""``metrics.jsonl``, read again: what a training logged, by step. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlas.json_file import json_value


def logged_lines(path: Path) -> dict[int, Mapping[str, Any]]:
    """Return the lines by step; a step that was logged twice counts as it was the last time.

    A line that a crash has cut is left out; where there is no file, there are none.
    """
    found: dict[int, Mapping[str, Any]] = {}
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.split("\n"):
        try:
            record = json_value(line) if line.strip() else None
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            found[record["step"]] = record
    return found
