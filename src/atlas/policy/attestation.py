"""Whether a server serves the trainer's weights: fixed witness texts, scored on both sides.

    agree    max |s_v - t_v| and mean |s_v - t_v| within what the precision allows
    moved    where the trainer's scores moved from t_u to t_v, the server's are nearer to t_v

s are the server's log-probabilities, t the trainer's, v this version, u the one before. Both sides
score the same tokens at temperature 1. The second line is needed because an update may move scores
by less than the tolerance: a server that never got it would pass the first.

Shapes: N scored tokens of all witnesses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from atlas.errors import AtlasError

_NOISE_MARGIN = 4.0
"""Scores that moved by so many times the usual difference between the two sides have moved."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """How far apart equal weights may score, in nats.

    Example: float32 was seen to differ by 6e-6 at most and 1e-6 in the mean over 1,024 tokens.
    """

    max: float
    mean: float
    noise: float
    """Usual mean difference: changes below some of it can't be told from none."""


_TOLERANCES: Mapping[torch.dtype, Tolerance] = {
    torch.float32: Tolerance(max=1e-4, mean=2e-5, noise=2e-6),
    torch.bfloat16: Tolerance(max=0.2, mean=0.03, noise=0.016),
    torch.float16: Tolerance(max=0.05, mean=0.01, noise=0.003),
}


def tolerance_for(dtype: torch.dtype, mean: float = 0.0) -> Tolerance:
    """Return what scores in a precision may differ by.

    Args:
        dtype: Of the less precise side.
        mean: Largest mean difference; 0: what the precision gives. The others are scaled with it.
    """
    usual = _TOLERANCES[dtype]
    scale = mean / usual.mean if mean else 1.0
    return Tolerance(max=usual.max * scale, mean=usual.mean * scale, noise=usual.noise * scale)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """The witnesses as both sides scored them under one version of the weights."""

    version: int
    trainer_N: Tensor
    server_N: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How well a server agrees with its trainer, in nats."""

    max: float
    mean: float


@dataclass(kw_only=True, slots=True)
class Attestation:
    """One server's readings so far, and what the next one has to be like."""

    url: str
    tolerance: Tolerance
    started_N: Tensor | None = None
    """The server's scores before it was given any weights."""
    past: list[Reading] = field(default_factory=list)
    """Of the last versions, oldest first."""
    kept: int = 8

    def judge(self, reading: Reading) -> Agreement:
        """Keep a reading that is as it should be.

        Raises:
            AtlasError: It isn't; says what the server serves instead, as far as that can be told.
        """
        difference_N = (reading.server_N - reading.trainer_N).abs()
        found = Agreement(max=float(difference_N.max()), mean=float(difference_N.mean()))
        # Written so that a NaN on either side doesn't pass.
        agrees = found.max <= self.tolerance.max and found.mean <= self.tolerance.mean
        if not agrees:
            raise AtlasError(self._complaint(reading, found))
        if self._stood_still(reading):
            before = self.past[-1]
            moved = _mean_gap(reading.trainer_N, before.trainer_N)
            raise AtlasError(
                f"{self._head(reading)} it still scores as version {before.version} did, while the "
                f"trainer's scores moved by {moved:.2g} nats: the update didn't reach it; restart "
                "the server, and resume the run"
            )
        self.past = [*self.past, reading][-self.kept :]
        return found

    def _stood_still(self, reading: Reading) -> bool:
        """Return whether the trainer moved and the server didn't go with it."""
        if not self.past:
            return False
        before = self.past[-1]
        if before.version == reading.version:
            return False
        if _mean_gap(reading.trainer_N, before.trainer_N) <= _NOISE_MARGIN * self.tolerance.noise:
            return False
        to_new = _mean_gap(reading.server_N, reading.trainer_N)
        return to_new >= _mean_gap(reading.server_N, before.trainer_N)

    def _complaint(self, reading: Reading, found: Agreement) -> str:
        apart = (
            f"its log-probabilities differ from the trainer's by up to {found.max:.3g} nats "
            f"({found.mean:.3g} in the mean; {self.tolerance.max:.3g} and "
            f"{self.tolerance.mean:.3g} are allowed)"
        )
        return f"{self._head(reading)} {apart}: {self._cause(reading)}"

    def _cause(self, reading: Reading) -> str:
        twin = self._twin(reading)
        if twin is not None and self.past and twin == self.past[-1].version:
            return (
                f"it scores exactly as with version {twin}, the one before, so the update didn't "
                "reach it; restart the server, and resume the run"
            )
        if twin is not None:
            return (
                f"it scores exactly as with version {twin}, so it serves an old version; restart "
                "the server, and resume the run"
            )
        if self.started_N is not None and self._equal(reading.server_N, self.started_N):
            return (
                "it scores exactly as when it was started, so it serves the weights of its own "
                "folder (the base weights), not the trainer's; restart the server, and resume"
            )
        if not self.past:
            return (
                "it is a server of another model, or computes in another precision; start it from "
                "the folder that training starts from"
            )
        return (
            "some of its weights are not those that were sent (lost, changed or mixed up on their "
            "way); restart the server, and resume the run"
        )

    def _twin(self, reading: Reading) -> int | None:
        """Return the earlier version that the server scores exactly like, if there is one."""
        for before in reversed(self.past):
            if before.version != reading.version and self._equal(reading.server_N, before.server_N):
                return before.version
        return None

    def _equal(self, one_N: Tensor, other_N: Tensor) -> bool:
        return one_N.shape == other_N.shape and _mean_gap(one_N, other_N) <= self.tolerance.noise

    def _head(self, reading: Reading) -> str:
        return (
            f"the server at {self.url} doesn't serve the trainer's weights (version "
            f"{reading.version}):"
        )


def check_sampled(
    url: str, server_N: Sequence[float], trainer_N: Sequence[float], tolerance: Tolerance
) -> None:
    """Check the log-probabilities of tokens that the server sampled as in training.

    Raises:
        AtlasError: They mean something else than the trainer's.
    """
    pairs = zip(server_N, trainer_N, strict=True)
    gap = max((abs(s - t) for s, t in pairs), default=0.0)
    if not gap <= tolerance.max:
        raise AtlasError(
            f"the server at {url} reports log-probabilities of sampled tokens that differ from the "
            f"trainer's by {gap:.3g} nats, though it has the right weights: it doesn't report "
            "those of softmax(logits / temperature); start it with atlas serve"
        )


def _mean_gap(one_N: Tensor, other_N: Tensor) -> float:
    return float((one_N - other_N).abs().mean())
