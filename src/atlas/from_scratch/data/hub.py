"""Preference sets of the Hugging Face hub -> prompts with ranked responses.

Two shapes are read, by their columns:

- UltraFeedback's: ``instruction`` (or ``prompt``) and ``completions``, a list of objects with
  ``response`` and a score (``fine-grained_score``, ``overall_score``, ``score`` or ``rating``);
- pairs: ``chosen`` and ``rejected``, as text or as chat messages, with ``prompt`` beside them (as
  text or as messages) or in the messages, and scores where there are ``score_chosen`` and
  ``score_rejected``.

A record has one prompt and answers to it, so a dialogue is read where one user turn comes before
the answer, and left out where there are more, or answers between. A system message is joined to
the prompt: what it asks for may be what decided between the answers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atlas.data.ranked import RankedRecord
from atlas.errors import AtlasError

_SCORES = ("fine-grained_score", "overall_score", "score", "rating")
"""First found. UltraFeedback's ``overall_score`` is 10 in some rows where a judge said 1."""

_UNRANKED = "rows have one answer or equal scores"
_UNASKED = "rows have no prompt"
_UNREADABLE = "rows have turns without a role and a text, or end with another turn than an answer"
_SEVERAL = "rows are dialogues of several turns before the answer"
_APART = "rows have a chosen and a rejected answer to different prompts"


class _LeftOutError(Exception):
    """A row that no record can be made of; its text says why, for many rows."""


def ranked_from_hub(
    name: str,
    *,
    split: str | None = None,
    responses_per_prompt: int,
    left_out: Counter[str] | None = None,
) -> Iterator[RankedRecord]:
    """Yield the records of a data set, row by row.

    Args:
        name: A set of the hub, a folder, or a parquet or JSON file.
        split: Which part of it; None: ``train``.
        responses_per_prompt: K at most.
        left_out: Counts the rows that no record was made of, by reason.

    Raises:
        AtlasError: The set can't be loaded, or its columns have neither shape.
    """
    from atlas.data.sources.hub import read_rows  # noqa: PLC0415 - slow to import

    for index, row in enumerate(read_rows(name, None, None, split or "train")()):
        try:
            record = _record(row, f"{name}, row {index}")
        except _LeftOutError as reason:
            if left_out is not None:
                left_out[str(reason)] += 1
        else:
            yield record.at_most(responses_per_prompt)


def _record(row: Mapping[str, Any], where: str) -> RankedRecord:
    if "completions" in row:
        prompt = _prompt(_turns(row.get("instruction") or row.get("prompt"), "user"))
        said = row["completions"] or []
        if not isinstance(said, list) or not all(isinstance(one, Mapping) for one in said):
            raise _LeftOutError(_UNREADABLE)
        scored = [(str(one.get("response") or "").strip(), _score(one)) for one in said]
        are_ranks = False
    elif "chosen" in row and "rejected" in row:
        prompt, answers = _pair(row)
        scores = _number(row.get("score_chosen")), _number(row.get("score_rejected"))
        are_ranks = None in scores
        scored = list(zip(answers, (-1.0, -2.0) if are_ranks else scores, strict=True))
    else:
        raise AtlasError(
            f"{where} has the columns {', '.join(row)}; ranked data needs 'completions', or "
            "'chosen' and 'rejected'"
        )
    known = {text: score for text, score in scored if text and score is not None}
    if len(set(known.values())) < 2:
        raise _LeftOutError(_UNRANKED)
    return RankedRecord(
        prompt=prompt,
        responses=tuple(known),
        scores=tuple(known.values()),
        are_ranks=are_ranks,
        source=where,
    )


def _pair(row: Mapping[str, Any]) -> tuple[str, tuple[str, str]]:
    """Return the prompt of a row, and its chosen and its rejected answer."""
    asked = _turns(row.get("prompt"), "user")
    before, answers = [], []
    for side in ("chosen", "rejected"):
        *opening, last = _turns(row[side], "assistant") or [("assistant", "")]
        if last[0] != "assistant":
            raise _LeftOutError(_UNREADABLE)
        # Whole dialogues repeat the prompt (which as text may be put otherwise); answers alone
        # follow it.
        repeats = isinstance(row.get("prompt"), str) or opening[: len(asked)] == asked
        whole = repeats and any(role == "user" for role, _ in opening)
        before.append(_prompt(opening if whole else [*asked, *opening]))
        answers.append(last[1].strip())
    if before[0] != before[1]:
        raise _LeftOutError(_APART)
    return before[0], (answers[0], answers[1])


def _prompt(turns: Sequence[tuple[str, str]]) -> str:
    """Return what one user turn asks, after what system messages say."""
    said = [(role, text) for role, text in turns if text.strip()]
    roles = [role for role, _ in said if role != "system"]
    if "user" not in roles:
        raise _LeftOutError(_UNASKED)
    if roles != ["user"]:
        raise _LeftOutError(_SEVERAL)
    return "\n\n".join(text for _, text in said)


def _turns(value: Any, role: str) -> list[tuple[str, str]]:
    """Return chat turns as role and text; a text is one turn of ``role``."""
    if value is None or isinstance(value, str):
        return [(role, value)] if value else []
    turns = value if isinstance(value, list) else [value]
    found = [
        (turn["role"], turn["content"])
        for turn in turns
        if isinstance(turn, Mapping)
        and isinstance(turn.get("role"), str)
        and isinstance(turn.get("content"), str)
    ]
    if len(found) != len(turns):
        raise _LeftOutError(_UNREADABLE)
    return found


def _score(completion: Mapping[str, Any]) -> float | None:
    numbers = (_number(completion.get(name)) for name in _SCORES)
    return next((number for number in numbers if number is not None), None)


def _number(value: Any) -> float | None:
    """Return a finite number; None for what isn't one, as in ``N/A``."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
