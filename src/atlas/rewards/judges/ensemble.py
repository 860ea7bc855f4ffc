"""Several opinions of a small model, and a large one where they differ: one judge's result.

    score = Σ (1 − uᵢ) sᵢ / Σ (1 − uᵢ)       over the verdicts that there are; u: uncertainty

The large model is asked, with the opinions before it, when the standard deviation of the scores is
above ``variance_threshold``, when an uncertainty is above ``uncertainty_threshold``, or when fewer
than two of several samples gave a verdict. Its score then counts alone. Where no sample gave one,
the judge abstains: an endpoint out of order must not send everything to the expensive one.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.config.rim import RIMSettings
from atlas.endpoint.failures import Abstention
from atlas.rewards.judges.judge import Judge, JudgeModel, ask
from atlas.rewards.judges.verdict import JudgeVerdict


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeResult:
    """What one judge's ensemble says about one text."""

    score: float | None
    """0 to 1; None: it abstained."""
    explanation: str
    """The rationale of the verdict nearest to the score, or why there is none."""
    uncertainty: float | None = None
    """The largest of those that counted."""
    escalated: bool = False
    """The large model decided, or was asked to."""
    escalation_reason: str = ""
    verdicts: tuple[JudgeVerdict, ...] = ()
    """All of them, the large model's last."""
    abstentions: tuple[Abstention, ...] = ()


async def judge_together(
    judge: Judge,
    material: Mapping[str, Any],
    *,
    small: JudgeModel,
    large: JudgeModel,
    settings: RIMSettings,
) -> JudgeResult:
    """Return the result of one judge.

    Raises:
        AtlasError: As `atlas.rewards.judges.judge.ask`.
    """
    samples = await asyncio.gather(
        *(
            ask(small, judge, material, temperature=temperature, sample=sample)
            for sample, temperature in enumerate(settings.temperatures)
        )
    )
    verdicts = tuple(found for found in samples if isinstance(found, JudgeVerdict))
    abstentions = tuple(found for found in samples if isinstance(found, Abstention))
    if not verdicts:
        reason = f"no sample gave a verdict; {_first_reason(abstentions)}"
        return JudgeResult(score=None, explanation=reason, abstentions=abstentions)
    reason = escalation_reason(verdicts, num_samples=len(samples), settings=settings)
    if not reason:
        return _agreed(verdicts, abstentions)
    final = await ask(
        large,
        judge,
        {**material, "opinions": [_opinion(verdict) for verdict in verdicts]},
        temperature=settings.large_temperature,
    )
    if isinstance(final, Abstention):
        return JudgeResult(
            score=None,
            explanation=f"{reason}, and the large model gave no verdict: {final.reason}",
            escalated=True,
            escalation_reason=reason,
            verdicts=verdicts,
            abstentions=(*abstentions, final),
        )
    return JudgeResult(
        score=final.score,
        explanation=final.rationale,
        uncertainty=final.uncertainty,
        escalated=True,
        escalation_reason=reason,
        verdicts=(*verdicts, final),
        abstentions=abstentions,
    )


def escalation_reason(
    verdicts: Sequence[JudgeVerdict], *, num_samples: int, settings: RIMSettings
) -> str:
    """Return why the large model should decide; empty where the small one's samples will do."""
    if num_samples > 1 and len(verdicts) == 1:
        return f"one verdict from {num_samples} samples"
    # Rounded, so that 0.5 and 0.8 deviate by 0.15 and not by a last bit more.
    deviation = round(statistics.pstdev(verdict.score for verdict in verdicts), 9)
    if deviation > settings.variance_threshold:
        return f"scores deviate by {deviation:.3f}"
    uncertainty = max(verdict.uncertainty for verdict in verdicts)
    if uncertainty > settings.uncertainty_threshold:
        return f"uncertainty {uncertainty:.2f}"
    return ""


def _agreed(verdicts: tuple[JudgeVerdict, ...], abstentions: tuple[Abstention, ...]) -> JudgeResult:
    weights = [1 - verdict.uncertainty for verdict in verdicts]
    if sum(weights) == 0:
        weights = [1.0] * len(verdicts)
    total = sum(weight * v.score for weight, v in zip(weights, verdicts, strict=True))
    score = total / sum(weights)
    nearest = min(verdicts, key=lambda verdict: abs(verdict.score - score))
    return JudgeResult(
        score=score,
        explanation=nearest.rationale,
        uncertainty=max(verdict.uncertainty for verdict in verdicts),
        verdicts=verdicts,
        abstentions=abstentions,
    )


def _opinion(verdict: JudgeVerdict) -> dict[str, Any]:
    """Return a verdict as the large model reads it: quoted, since its author read the text."""
    return {
        "principles": [
            {"name": principle.name, "weight": round(principle.weight, 3)}
            for principle in verdict.principles
        ],
        "score": verdict.score,
        "uncertainty": verdict.uncertainty,
        "rationale": verdict.rationale,
    }


def _first_reason(abstentions: Sequence[Abstention]) -> str:
    first = abstentions[0]
    return f"{first.kind.replace('_', ' ')}: {first.reason}"
