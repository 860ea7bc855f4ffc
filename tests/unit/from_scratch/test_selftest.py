"""Every check holds, and each one bites: what it checks is broken, and it says so."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from atlas.from_scratch import selftest
from atlas.from_scratch.selftest import CHECKS, Check, run_checks
from atlas.from_scratch.training.group_steps import likelihood_objective
from atlas.models.passes.forward import logprobs
from atlas.objectives.kl import kl_k3
from atlas.objectives.ranked import ranked_loss


def test_every_check_holds_here() -> None:
    verdicts = list(run_checks())
    assert len(verdicts) >= len(CHECKS)
    assert [(v.what, v.error, v.failure) for v in verdicts if not v.holds] == []
    assert sum(verdict.seconds for verdict in verdicts) < 60


def turned(loss: Any) -> Any:
    """The same loss of scores that were not turned round."""
    return lambda logprobs, scores, *rest, **weights: loss(logprobs, -scores, *rest, **weights)


def with_ties(loss: Any) -> Any:
    """The same loss where a tie is a pair: who stands first is better."""

    def broken(logprobs: Any, scores: Any, *rest: Any, **weights: Any) -> Any:
        places = torch.arange(scores.shape[-1], 0, -1) * 1e-6
        return loss(logprobs, scores + places, *rest, **weights)

    return broken


def doubled(function: Any) -> Any:
    return lambda *words, **named: 2 * function(*words, **named)


def without_temperature(loss: Any) -> Any:
    return lambda *words, sharpness=1.0, **named: loss(*words, **named)


def nearest(exact: torch.Tensor, _: Any) -> torch.Tensor:
    return exact.to(torch.bfloat16)


def warmer(model: Any, rows: Any, *, share: bool = True) -> Any:
    return logprobs(model, rows, temperature=1.001 if share else 1.0, share=share)


@pytest.mark.parametrize(
    ("what", "name", "broken"),
    [
        ("the guide's formula", "ranked_loss", without_temperature(ranked_loss)),
        ("rank 1 is the best", "ranked_loss", turned(ranked_loss)),
        ("ties and reversed order", "ranked_loss", with_ties(ranked_loss)),
        ("the ranked stage learns an order", "ranked_objective", lambda **_: likelihood_objective),
        ("GRPO: KL to the reference", "kl_k3", doubled(kl_k3)),
        ("stochastic rounding", "stochastic_round", nearest),
        ("a shared prompt is exact", "logprobs", warmer),
    ],
)
def test_a_check_bites(monkeypatch: pytest.MonkeyPatch, what: str, name: str, broken: Any) -> None:
    monkeypatch.setattr(selftest, name, broken)
    verdicts = {verdict.what: verdict for verdict in run_checks()}
    assert not verdicts[what].holds


def test_what_is_raised_fails_the_check_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> float:
        raise ValueError("no such thing\nsecond line")

    checks = (Check(what="a", error=broken, tolerance=1.0),)
    checks += (Check(what="b", error=lambda: math.nan, tolerance=1.0),)
    monkeypatch.setattr(selftest, "CHECKS", checks)
    verdicts = list(run_checks())[:2]
    assert [verdict.holds for verdict in verdicts] == [False, False]
    assert verdicts[0].failure == "ValueError: no such thing"
