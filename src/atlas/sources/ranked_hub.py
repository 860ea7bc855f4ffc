"""Preference sets of the Hugging Face hub -> prompts with ranked responses.

Two shapes are read, by their columns:

- UltraFeedback's: ``instruction`` (or ``prompt``) and ``completions``, a list of objects with
  ``response`` and a score (``fine-grained_score``, ``overall_score``, ``score`` or ``rating``);
- pairs: ``chosen`` and ``rejected``, as text or as chat messages, with ``prompt`` beside them or
  in the messages, and scores where there are ``score_chosen`` and ``score_rejected``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from atlas.datasets.ranked import RankedRecord
from atlas.errors import AtlasError

_SCORES = ("fine-grained_score", "overall_score", "score", "rating")
"""First found. UltraFeedback's ``overall_score`` is 10 in some rows where a judge said 1."""


def ranked_from_hub(
    name: str, *, split: str | None = None, limit: int | None = None, responses_per_prompt: int
) -> Iterator[RankedRecord]:
    """Yield the records of a data set, row by row.

    Args:
        name: A set of the hub, a folder, or a parquet or JSON file.
        split: Which part of it; None: ``train``.
        limit: Rows at most.
        responses_per_prompt: K at most.

    Raises:
        AtlasError: The set can't be loaded, or its columns have neither shape.
    """
    from atlas.sources.hub import read_rows  # noqa: PLC0415 - slow to import

    for index, row in enumerate(read_rows(name, None, None, split or "train")()):
        if limit is not None and index >= limit:
            return
        record = _record(row, f"{name}, row {index}")
        if record is not None:
            yield record.at_most(responses_per_prompt)


def _record(row: Mapping[str, Any], where: str) -> RankedRecord | None:
    """Return the record of a row; None where nothing in it can be ranked."""
    if "completions" in row:
        prompt = row.get("instruction") or row.get("prompt")
        scored = [
            (str(c.get("response") or "").strip(), _score(c)) for c in row["completions"] or ()
        ]
    elif "chosen" in row and "rejected" in row:
        prompt = row.get("prompt") or _first_turn(row["chosen"])
        better, worse = _number(row.get("score_chosen")), _number(row.get("score_rejected"))
        if better is None or worse is None:
            better, worse = 1.0, 0.0
        scored = [(_last_turn(row["chosen"]), better), (_last_turn(row["rejected"]), worse)]
    else:
        raise AtlasError(
            f"{where} has the columns {', '.join(row)}; ranked data needs 'completions', or "
            "'chosen' and 'rejected'"
        )
    known = {text: score for text, score in scored if text and score is not None}
    if not prompt or len(set(known.values())) < 2:
        return None
    return RankedRecord(
        prompt=str(prompt), responses=tuple(known), scores=tuple(known.values()), source=where
    )


def _score(completion: Mapping[str, Any]) -> float | None:
    numbers = (_number(completion.get(name)) for name in _SCORES)
    return next((number for number in numbers if number is not None), None)


def _number(value: Any) -> float | None:
    """Return a finite number; None for what isn't one, as in ``N/A``."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _first_turn(messages: Any) -> str:
    return str(messages[0]["content"]) if isinstance(messages, list) and messages else ""


def _last_turn(messages: Any) -> str:
    if isinstance(messages, list):
        messages = messages[-1]["content"] if messages else ""
    return str(messages or "").strip()
