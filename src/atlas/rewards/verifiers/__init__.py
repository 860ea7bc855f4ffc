"""Verifiers: is an answer right? One file a verifier, found by the name that a task gives.

Input: a `Task` and what the student wrote. Output: a `Verdict`, which may be "can't tell".
"""

from __future__ import annotations

from atlas.rewards.verifiers.answers import Reading, read_answer
from atlas.rewards.verifiers.reasoning import has_scorer
from atlas.rewards.verifiers.reference import says_the_same
from atlas.rewards.verifiers.registry import (
    VERIFIERS,
    accepts_reference,
    verified,
    verifier_name,
    verify,
    verify_all,
)
from atlas.rewards.verifiers.verdict import Verifier
from atlas.types import Verdict

__all__ = [
    "VERIFIERS",
    "Reading",
    "Verdict",
    "Verifier",
    "accepts_reference",
    "has_scorer",
    "read_answer",
    "says_the_same",
    "verified",
    "verifier_name",
    "verify",
    "verify_all",
]
