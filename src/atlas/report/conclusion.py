"""The first sentence of the report: does the teacher help, by how much, and how sure is that.

Input: the claims table. Output: a headline and one sentence, chosen by where the 95 % interval of
the uplift lies: above zero, below zero, or across it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atlas.evaluation.claims import Claim, ClaimsTable, Comparison
from atlas.report.text import (
    arm_name,
    claim_interval,
    claim_value,
    comparison_value,
    interval_text,
    ordered_arms,
)

Effect = Literal["helps", "harms", "unclear", "unmeasured"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Conclusion:
    """What the page opens with."""

    finding: Effect
    headline: str
    sentence: str


def conclusion(table: ClaimsTable | None) -> Conclusion:
    """Return what is to be said of the arm trained last."""
    if table is None:
        return Conclusion(
            finding="unmeasured",
            headline="Not evaluated yet",
            sentence="This run has no evaluation, so nothing can be said about its teacher.",
        )
    arm = ordered_arms(table.arms)[-1]
    claims = {claim.name: claim for claim in table.arms[arm]}
    finding = _finding(claims["uplift"])
    headline = {
        "helps": f"The {arm_name(arm)} helps its student",
        "harms": f"The {arm_name(arm)} harms its student",
        "unclear": f"The {arm_name(arm)} makes no clear difference",
        "unmeasured": f"The {arm_name(arm)} could not be measured",
    }[finding]
    sentence = (
        f"On {table.num_tasks} held-out tasks the student gets "
        f"{claim_value(claims['accuracy_taught'])} right when taught and "
        f"{claim_value(claims['accuracy_alone'])} alone: {claim_value(claims['uplift'])} "
        f"(95 % interval {claim_interval(claims['uplift'])})"
    )
    return Conclusion(finding=finding, headline=headline, sentence=sentence + _against(table, arm))


def _finding(uplift: Claim) -> Effect:
    if uplift.interval is None:
        return "unmeasured"
    if uplift.interval.low > 0:
        return "helps"
    return "harms" if uplift.interval.high < 0 else "unclear"


def _against(table: ClaimsTable, arm: str) -> str:
    """Return the end of the sentence: the arm against the one trained before it."""
    before = ordered_arms(table.arms)[:-1]
    found = [
        comparison
        for comparison in table.comparisons
        if before and (comparison.arm, comparison.baseline_arm) == (arm, before[-1])
    ]
    return _against_text(found[0]) if found else "."


def _against_text(comparison: Comparison) -> str:
    other = arm_name(comparison.baseline_arm)
    value, interval = comparison.interval.value, interval_text(comparison.interval, signed=True)
    if comparison.is_above_zero:
        return f", which is {abs(value):.1f} points more than with the {other} ({interval})."
    if comparison.interval.high < 0:
        return f", which is {abs(value):.1f} points less than with the {other} ({interval})."
    return f", no clear difference from the {other} ({comparison_value(comparison)}, {interval})."
