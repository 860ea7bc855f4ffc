"""``metrics.jsonl``, read again: what a training logged, by step. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlas.json_file import json_value


def logged_lines(path: Path, stage: str | None = None) -> dict[int, Mapping[str, Any]]:
    """Return what was logged, by step, as it was logged the last time; of one stage, or of all.

    A line that a crash has cut is left out; where there is no file, there are none.
    """
    found: dict[int, Mapping[str, Any]] = {}
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.split("\n"):
        try:
            record = json_value(line) if line.strip() else None
        except ValueError:
            continue
        if not isinstance(record, dict) or not isinstance(step := record.get("step"), int):
            continue
        if stage is None or record.get("stage") == stage:
            found[step] = {**found.get(step, {}), **record}  # an evaluation has a line of its own
    return found
