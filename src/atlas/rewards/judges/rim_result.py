"""What the judges' work comes to: one response's result, and the numbers of many for the log.

Input: the results of all judges. Output: a `RIMResult` each, a `RIMReport` a logged step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from atlas.endpoint.tally import Tally, call_metrics
from atlas.rewards.judges.ensemble import JudgeResult
from atlas.types import Score


@dataclass(frozen=True, kw_only=True, slots=True)
class RIMResult:
    """What all judges say about one response.

    Example:
        >>> said = JudgeResult(score=0.5, explanation="Ok.")
        >>> result = RIMResult(score=0.5, judges={"process": said})
        >>> result.judge_scores, result.rationale, result.to_score().parts
        ({'process': 0.5}, 'process: Ok.', {'process': 0.5, 'escalated': 0.0})
    """

    score: float | None
    """0 to 1; None: a judge abstained."""
    judges: Mapping[str, JudgeResult]

    @property
    def judge_scores(self) -> dict[str, float]:
        """Scores by judge, of those that gave one."""
        return {name: r.score for name, r in self.judges.items() if r.score is not None}

    @property
    def judge_explanations(self) -> dict[str, str]:
        """Explanations by judge."""
        return {name: result.explanation for name, result in self.judges.items()}

    @property
    def rationale(self) -> str:
        """All explanations, a line a judge."""
        return "\n".join(f"{name}: {said}" for name, said in self.judge_explanations.items())

    @property
    def escalated(self) -> bool:
        """The large model was asked by at least one judge."""
        return any(result.escalated for result in self.judges.values())

    def to_score(self) -> Score:
        """Return the result as the rest of the house knows it."""
        silent = [f"{n}: {r.explanation}" for n, r in self.judges.items() if r.score is None]
        return Score(
            value=self.score,
            parts={**self.judge_scores, "escalated": float(self.escalated)},
            reason="; ".join(silent),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RIMReport:
    """What the judges did since the last report, for the log."""

    metrics: Mapping[str, float]
    """``rim_rewards`` (mean), ``rim_rewards/<judge>``, ``escalation_rate``, ``judges/…``."""
    rim_explanations: tuple[Mapping[str, str], ...]
    """By judge, one entry a result."""


@dataclass(kw_only=True, slots=True)
class SinceLastReport:
    """What has happened since the last report, and the counters as they stood then."""

    results: list[RIMResult] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)


def weighted_score(results: Sequence[JudgeResult], weights: Sequence[float]) -> float | None:
    """Return the weighted mean of the judges' scores; None where one of them abstained."""
    scores = [result.score for result in results]
    if any(score is None for score in scores):
        return None
    total = sum(w * score for w, score in zip(weights, scores, strict=True) if score is not None)
    return total / sum(weights)


def rim_report(before: SinceLastReport, now: Tally) -> RIMReport:
    """Return the report on what happened since ``before``."""
    metrics = _score_metrics(before.results) | call_metrics("judges", before.tally, now)
    explanations = tuple(result.judge_explanations for result in before.results)
    return RIMReport(metrics=metrics, rim_explanations=explanations)


def _score_metrics(results: Sequence[RIMResult]) -> dict[str, float]:
    if not results:
        return {}
    judged = [judge for result in results for judge in result.judges.values()]
    metrics = {
        "escalation_rate": sum(judge.escalated for judge in judged) / len(judged),
        "rim_abstention_rate": sum(r.score is None for r in results) / len(results),
    }
    scores = [result.score for result in results if result.score is not None]
    if scores:
        metrics["rim_rewards"] = sum(scores) / len(scores)
    for name in results[0].judges:
        own = [result.judge_scores[name] for result in results if name in result.judge_scores]
        if own:
            metrics[f"rim_rewards/{name}"] = sum(own) / len(own)
    return metrics
