"""The claims in words and numbers: one wording for the page and for the command line.

Input: claims. Output: plain strings; no markup, no
colour, so that the caller decides how a table looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from atlas.evaluation.claims import Claim, ClaimsTable, Comparison, Unit
from atlas.evaluation.stats import Interval

NOT_MEASURABLE = "not measurable"

_ARM_NAMES = {"untrained": "Untrained teacher", "sft": "SFT teacher", "grpo": "GRPO teacher"}
_SUFFIXES: Mapping[Unit, str] = {"%": " %", "points": " points", "tokens": " tokens", "score": ""}
_SIGNED = frozenset({"uplift", "completion_gain", "completion_gain_relative"})


def arm_name(arm: str) -> str:
    """Return how a reader should see the arm: ``grpo`` is the GRPO teacher."""
    return _ARM_NAMES.get(arm, arm)


def ordered_arms(arms: Iterable[str]) -> list[str]:
    """Return the arms as the quickstart trains them (untrained, sft, grpo), others after them."""
    ranks = {arm: rank for rank, arm in enumerate(_ARM_NAMES)}
    return sorted(arms, key=lambda arm: ranks.get(arm, len(ranks)))


def number_text(value: float, unit: Unit, *, signed: bool = False) -> str:
    """Return one number with its unit: ``+27.3 points``, ``97.4 %``, ``31.0 tokens``."""
    # Rounded first, so that -0.04 doesn't become "-0.0".
    rounded = round(value, 1) + 0.0
    return f"{rounded:{'+' if signed else ''}.1f}{_SUFFIXES[unit]}"


def claim_value(claim: Claim) -> str:
    """Return the measured number, or that there is none."""
    if claim.value is None:
        return NOT_MEASURABLE
    return number_text(claim.value, claim.unit, signed=claim.name in _SIGNED)


def claim_interval(claim: Claim) -> str:
    """Return the interval as ``+23.1 to +31.5``; empty where nothing could be measured."""
    if claim.interval is None:
        return ""
    return interval_text(claim.interval, signed=claim.name in _SIGNED)


def claim_status(claim: Claim) -> str:
    """Return ``met`` or ``not met``; empty where the guide sets no number."""
    return {True: "met", False: "not met", None: ""}[claim.met]


def interval_text(interval: Interval, *, signed: bool = False) -> str:
    """Return both ends to one decimal place, the unit left to the value beside it."""
    low, high = (number_text(end, "score", signed=signed) for end in (interval.low, interval.high))
    return f"{low} to {high}"


def comparison_value(comparison: Comparison) -> str:
    """Return the difference of uplifts as ``+7.0 points``."""
    return number_text(comparison.interval.value, "points", signed=True)


def rows_by_claim(table: ClaimsTable) -> list[tuple[Claim, ...]]:
    """Return the table turned round: for each claim, that claim of every arm in order."""
    return list(zip(*(table.arms[arm] for arm in ordered_arms(table.arms)), strict=True))


def claim_text(claim: Claim) -> str:
    """Return a claim as ``+20.5 points (+16.5 to +24.8), met``."""
    value = claim_value(claim)
    if claim.interval is not None:
        value += f" ({claim_interval(claim)})"
    status = claim_status(claim)
    return f"{value}, {status}" if status else value


def reading_text(read_by: Mapping[str, Mapping[str, float]]) -> str:
    """Return ``student alone: answer 98 %, boxed 2 %; GRPO teacher: answer 100 %``."""
    arms = ["alone", *ordered_arms(read_by.keys() - {"alone"})]
    told = {
        arm: [f"{rule} {share:.0f} %" for rule, share in read_by.get(arm, {}).items()]
        for arm in arms
    }
    names = {arm: "student alone" if arm == "alone" else arm_name(arm) for arm in arms}
    return "; ".join(f"{names[arm]}: {', '.join(rules)}" for arm, rules in told.items() if rules)
