"""Verifiers: is an answer right? One file a verifier, found by the name that a task gives.

Input: a `Task` and what the student wrote. Output: a `Verdict`, which may be "can't tell".
"""

from __future__ import annotations

from atlas.rewards.verifiers.answers import read_answer
from atlas.rewards.verifiers.reasoning import has_scorer
from atlas.rewards.verifiers.reference import says_the_same
from atlas.rewards.verifiers.registry import (
    VERIFIERS,
    accepts_reference,
    verified,
    verify,
    verify_all,
)
from atlas.types import Verdict
