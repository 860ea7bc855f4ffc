r"""The reward of a teaching: how much better the student does with it than alone.

Input: outcomes of one task without and with a teaching. Output: a `Score`.

    reward = (taught - alone)                                   verified, -1, 0 or 1
           + dense_weight   * clip(log p(answer | taught) - log p(answer | alone), -1, 1)
           - degrade_penalty * [alone right and taught wrong]
           + token_weight   * share of net tokens saved * [taught right]

Of a student that is asked several times, each of these is its mean over all pairs of an attempt
alone and one with the teaching. Where nobody knows how many tokens it took, none is saved.

A teaching that leaks the answer counts as not taught right, and its dense part is the lowest that
there is, so that it never earns more than an honest teaching of the task that failed.
"""

from __future__ import annotations

from dataclasses import dataclass

from atlas.types import Lesson, Score


@dataclass(frozen=True, kw_only=True, slots=True)
class UpliftWeights:
    """How much each part counts, in units of one task solved."""

    dense: float = 0.1
    degrade_penalty: float = 0.5
    tokens: float = 0.1


def uplift_score(lesson: Lesson, weights: UpliftWeights, *, dense: float = 0.0) -> Score:
    """Score one teaching.

    Args:
        lesson: Verified, and looked through for leaks.
        weights: how much each part counts.
        dense: difference of the student's mean log-likelihood (nats a token) of the reference
            answer, with minus without the teaching.

    Returns:
        The score; an abstention where the verifier could not tell about one of the answers.
    """
    alone, taught, leak = lesson.alone, lesson.attempt, lesson.leak
    leaks = {"leaked": float(leak is not None)} | ({f"leak_{leak.kind}": 1.0} if leak else {})
    untold = taught.unverified or alone.unverified
    leaks["uplift_abstained"] = float(bool(untold))
    if untold:
        return Score(value=None, parts=leaks, reason=untold)
    right = taught.right if leak is None else 0.0
    known = alone.tokens > 0 and taught.tokens > 0
    saved = 1 - (lesson.tried_after + lesson.teaching.num_tokens) / max(alone.tokens, 1)
    parts = {
        "uplift": right - alone.right,
        "dense": -1.0 if leak is not None else max(-1.0, min(1.0, dense)),
        "degraded": alone.right * (1 - right),
        "tokens": max(-1.0, min(1.0, saved)) * right if right and known else 0.0,
        **leaks,
    }
    weighted = {
        "uplift": parts["uplift"],
        "dense": weights.dense * parts["dense"],
        "degraded": -weights.degrade_penalty * parts["degraded"],
        "tokens": weights.tokens * parts["tokens"],
    }
    return Score(
        value=sum(weighted.values()),
        parts=parts,
        weighted=weighted,
        reason=leak.reason if leak else "",
    )
