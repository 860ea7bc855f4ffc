"""``eval/claims.json``: the claims table on disk, for the report and the command line.

Layout::

    {"num_tasks": 400,
     "arms": {"sft": [{"name": "uplift", "label": ..., "value": 20.5, "interval": [16.5, 24.75],
                       "unit": "points", "guide_value": 15.7, "guide_text": "+15.7 points",
                       "num": 400, "met": true}, ...], "grpo": [...]},
     "comparisons": [{"arm": "grpo", "baseline_arm": "sft", "value": 7.0, "interval": [3.5, 10.5],
                      "unit": "points", "num": 400,
                      "verdicts": {"value": 12.0, "interval": [8.0, 16.0]}}],
     "read_by": {"alone": {"answer": 100.0}, "sft": {"answer": 97.5, "boxed": 2.5}, ...}}

``value`` and ``interval`` are null where a claim can't be measured, ``guide_value`` and ``met``
where the guide sets no number. ``verdicts`` is there where both teachers review.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError
from atlas.evaluation.claims import DEFINITIONS, Claim, ClaimsTable, Comparison
from atlas.evaluation.spread_claims import SPREAD_LABELS
from atlas.evaluation.stats import Interval
from atlas.evaluation.verdict_claims import VERDICT_LABELS
from atlas.json_file import read_json
from atlas.run.files import write_atomic


def claims_to_json(table: ClaimsTable) -> dict[str, Any]:
    """Return the table as JSON values, laid out as in the module docstring."""
    return {
        "num_tasks": table.num_tasks,
        "arms": {
            arm: [{**_with_interval(claim), "met": claim.met} for claim in row]
            for arm, row in table.arms.items()
        },
        "comparisons": [
            {**_with_interval(row), "unit": "points", **_verdicts(row)} for row in table.comparisons
        ],
        "read_by": table.read_by,
    }


def claims_from_json(record: Mapping[str, Any]) -> ClaimsTable:
    """Return the table that ``claims_to_json`` wrote.

    Raises:
        AtlasError: A key is missing or has another type, or an arm has other claims than those
            of ``DEFINITIONS``; the message names them.
    """
    try:
        table = ClaimsTable(
            num_tasks=int(record["num_tasks"]),
            arms={
                str(arm): tuple(_claim_from_json(claim) for claim in row)
                for arm, row in record["arms"].items()
            },
            comparisons=tuple(_comparison_from_json(row) for row in record["comparisons"]),
            read_by={
                _text(name): {_text(rule): float(share) for rule, share in rules.items()}
                for name, rules in record.get("read_by", {}).items()
            },
        )
    except KeyError as error:
        raise AtlasError(f"claims: key {error} is missing; evaluate again") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise AtlasError(f"claims: not laid out as expected ({error}); evaluate again") from error
    if not table.arms:
        raise AtlasError("claims: there is no arm; evaluate again")
    for arm, row in table.arms.items():
        names = {claim.name for claim in row}
        # Claims on verdicts are there for teachers that give some, on spread for several attempts.
        sometimes = VERDICT_LABELS.keys() | SPREAD_LABELS.keys()
        different = names ^ (DEFINITIONS.keys() | (names & sometimes))
        if different or len(row) != len(names):
            raise AtlasError(
                f"claims: arm {arm!r} has other claims than this Atlas measures "
                f"({', '.join(sorted(different)) or 'some twice'}); evaluate again"
            )
    return table


def write_claims(path: Path, table: ClaimsTable) -> None:
    """Write the table to ``path`` (``eval/claims.json``), whole or not at all.

    Raises:
        AtlasError: The disk is full.
    """
    text = json.dumps(claims_to_json(table), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text + "\n")


def read_claims(path: Path) -> ClaimsTable:
    """Return the table in ``path``.

    Raises:
        AtlasError: The file is missing, isn't JSON or isn't laid out as expected.
    """
    if not path.exists():
        raise AtlasError(f"{path} isn't there: run the evaluation first")
    return claims_from_json(read_json(path))


def _with_interval(row: Claim | Comparison) -> dict[str, Any]:
    found = asdict(row)
    interval = found.pop("interval")
    found.pop("verdicts", None)
    if interval is None:
        return {**found, "value": None, "interval": None}
    return {**found, "value": interval["value"], "interval": [interval["low"], interval["high"]]}


def _verdicts(row: Comparison) -> dict[str, Any]:
    found = row.verdicts
    if found is None:
        return {}
    return {"verdicts": {"value": found.value, "interval": [found.low, found.high]}}


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _interval_from_json(record: Mapping[str, Any]) -> Interval | None:
    if record["interval"] is None:
        return None
    low, high = record["interval"]
    return Interval(value=float(record["value"]), low=float(low), high=float(high))


def _claim_from_json(record: Mapping[str, Any]) -> Claim:
    guide_value = record["guide_value"]
    return Claim(
        name=_text(record["name"]),
        label=_text(record["label"]),
        interval=_interval_from_json(record),
        unit=_text(record["unit"]),
        guide_value=None if guide_value is None else float(guide_value),
        guide_text=_text(record["guide_text"]),
        num=int(record["num"]),
    )


def _comparison_from_json(record: Mapping[str, Any]) -> Comparison:
    interval = _interval_from_json(record)
    if interval is None:
        raise ValueError("a comparison has no interval")
    return Comparison(
        arm=_text(record["arm"]),
        baseline_arm=_text(record["baseline_arm"]),
        interval=interval,
        num=int(record["num"]),
        verdicts=_interval_from_json(record.get("verdicts", {"interval": None})),
    )
