from __future__ import annotations

import asyncio
from typing import Any

import pytest

from atlas.config.rim import RIMSettings
from atlas.endpoint.failures import Abstention
from atlas.rewards.judges import ensemble
from atlas.rewards.judges.ensemble import JudgeResult, escalation_reason, judge_together
from atlas.rewards.judges.judge import Judge
from atlas.rewards.judges.verdict import JudgeVerdict, Principle

JUDGE = Judge(name="process", criteria="Is it good?")
SETTINGS = RIMSettings()
SILENT = Abstention(kind="timeout", reason="no answer in time")


def verdict(score: float, uncertainty: float = 0.1, rationale: str = "") -> JudgeVerdict:
    principles = (Principle(name="clear", weight=1.0),)
    rationale = rationale or f"says {score}"
    return JudgeVerdict(
        principles=principles, score=score, rationale=rationale, uncertainty=uncertainty
    )


def judged(
    monkeypatch: pytest.MonkeyPatch,
    samples: list[JudgeVerdict | Abstention],
    final: JudgeVerdict | Abstention | None = None,
) -> tuple[JudgeResult, list[dict[str, Any]]]:
    """The result where the small model says ``samples`` and the large one ``final``."""
    asked: list[dict[str, Any]] = []

    async def ask(
        model: Any, judge: Judge, material: Any, *, temperature: float, sample: int = 0
    ) -> JudgeVerdict | Abstention:
        asked.append({"model": model, "temperature": temperature, "material": material})
        if model == "small":
            return samples[sample]
        assert final is not None
        return final

    monkeypatch.setattr(ensemble, "ask", ask)
    models: Any = {"small": "small", "large": "large"}
    material = {"prompt": "p", "response": "r"}
    return asyncio.run(judge_together(JUDGE, material, settings=SETTINGS, **models)), asked


def test_samples_that_agree_are_weighed_by_their_certainty(monkeypatch: pytest.MonkeyPatch) -> None:
    """(0.9 · 0.8 + 0.8 · 0.6 + 0.7 · 0.6) / (0.9 + 0.8 + 0.7) = 1.62 / 2.4"""
    result, asked = judged(monkeypatch, [verdict(0.8, 0.1), verdict(0.6, 0.2), verdict(0.6, 0.3)])
    assert result.score == pytest.approx(0.675)
    assert (result.explanation, result.uncertainty) == ("says 0.6", 0.3)
    assert (result.escalated, result.escalation_reason) == (False, "")
    assert [call["temperature"] for call in asked] == [0.2, 0.5, 0.8]


def test_the_large_model_sees_the_opinions_and_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    final = verdict(0.3, 0.5, "The second is right.")
    result, asked = judged(monkeypatch, [verdict(0.9), verdict(0.2), verdict(0.5)], final)
    assert (result.score, result.explanation) == (0.3, "The second is right.")
    assert (result.escalated, result.escalation_reason) == (True, "scores deviate by 0.287")
    assert len(result.verdicts) == 4
    large = asked[-1]
    assert (large["model"], large["temperature"], len(asked)) == ("large", 0.3, 4)
    assert [opinion["score"] for opinion in large["material"]["opinions"]] == [0.9, 0.2, 0.5]
    assert large["material"]["opinions"][0] == {
        "principles": [{"name": "clear", "weight": 1.0}],
        "score": 0.9,
        "uncertainty": 0.1,
        "rationale": "says 0.9",
    }


@pytest.mark.parametrize(
    ("verdicts", "num_samples", "reason"),
    [
        ([verdict(0.5), verdict(0.8)], 2, ""),  # a deviation of exactly 0.15
        ([verdict(0.5), verdict(0.81)], 2, "scores deviate by 0.155"),
        ([verdict(0.5, 0.3), verdict(0.5)], 2, ""),
        ([verdict(0.5, 0.31), verdict(0.5)], 2, "uncertainty 0.31"),
        ([verdict(0.5), verdict(0.5)], 3, ""),
        ([verdict(0.5)], 3, "one verdict from 3 samples"),
        ([verdict(0.5)], 1, ""),
    ],
)
def test_when_the_large_model_is_asked(
    verdicts: list[JudgeVerdict], num_samples: int, reason: str
) -> None:
    assert escalation_reason(verdicts, num_samples=num_samples, settings=SETTINGS) == reason


def test_no_verdict_is_an_abstention_and_costs_no_large_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result, asked = judged(monkeypatch, [SILENT] * 3)
    assert result.score is None
    assert result.explanation == "no sample gave a verdict; timeout: no answer in time"
    assert (len(asked), result.escalated) == (3, False)


def test_a_dispute_that_nobody_settles_is_an_abstention(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = judged(monkeypatch, [verdict(0.9), verdict(0.1), SILENT], SILENT)
    assert result.score is None
    assert result.escalated
    assert "scores deviate by 0.400, and the large model gave no verdict" in result.explanation
    assert len(result.abstentions) == 2


def test_samples_without_any_certainty_count_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tests.unit.rewards.judges.test_ensemble.SETTINGS", RIMSettings(uncertainty_threshold=1)
    )
    result, _ = judged(monkeypatch, [verdict(0.4, 1.0), verdict(0.6, 1.0), verdict(0.5, 1.0)])
    assert result.score == pytest.approx(0.5)
