"""What has been sampled so far, and which rows are still in flight.

Everything stays in tensors until the end: moving tokens to Python one by one costs more than
drawing them.

Shapes: N rows in all (P prompts of G samples), B rows in flight, T longest completion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atlas.rollouts.local.stop_strings import StopStrings


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """One row when all is done."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped: bool
    """It ended by itself."""


class Rows:
    """The rows of one call.

    Args:
        limits_N: most tokens of each row.
        keys_N: source of chance of each row.
        end_ids: tokens that end a row.
        stop: texts that end a row; None where there are none.
    """

    def __init__(
        self, limits_N: Tensor, keys_N: Tensor, end_ids: frozenset[int], stop: StopStrings | None
    ) -> None:
        num, longest = len(limits_N), int(limits_N.max())
        device = limits_N.device
        # One column more: what is drawn for rows that have ended but not left stands behind theirs.
        self._tokens_NT = torch.zeros(num, longest + 1, dtype=torch.int64, device=device)
        self._logprobs_NT = torch.zeros(num, longest + 1, device=device)
        self._lengths_N = torch.zeros_like(limits_N)
        self._stopped_N = torch.zeros_like(limits_N, dtype=torch.bool)
        self._limits_N, self._keys_N = limits_N, keys_N
        self._ends = torch.tensor(sorted(end_ids), dtype=torch.int64, device=device)
        self._stop = stop
        self._select(torch.zeros(0, dtype=torch.int64, device=device))

    def _select(self, slots_B: Tensor) -> None:
        self.slots_B = slots_B
        """Which of the N rows each row in flight is."""
        self.keys_B = self._keys_N[slots_B]
        self._limits_B = self._limits_N[slots_B]
        self.positions_B = self._lengths_N[slots_B]
        """Tokens drawn so far."""
        self._running_B = ~self._stopped_N[slots_B] & (self.positions_B < self._limits_B)

    def __len__(self) -> int:
        """Return B."""
        return len(self.slots_B)

    def admit(self, slots: Sequence[int]) -> None:
        """Put rows at the end of those in flight."""
        self._select(torch.cat([self.slots_B, torch.tensor(slots, device=self.slots_B.device)]))

    def record(self, tokens_B: Tensor, logprobs_B: Tensor) -> None:
        """Take one token of each row in flight."""
        running_B = self._running_B
        self._tokens_NT[self.slots_B, self.positions_B] = tokens_B
        self._logprobs_NT[self.slots_B, self.positions_B] = logprobs_B
        self.positions_B = self.positions_B + running_B
        self._lengths_N[self.slots_B] = self.positions_B
        ended_B = (tokens_B.unsqueeze(-1) == self._ends).any(dim=-1)
        if self._stop is not None:
            ended_B |= self._texts_complete()
        ended_B &= running_B
        self._stopped_N[self.slots_B] |= ended_B
        self._running_B = running_B & ~ended_B & (self.positions_B < self._limits_B)

    def _texts_complete(self) -> Tensor:
        assert self._stop is not None
        tokens = self._tokens_NT[self.slots_B].tolist()
        lengths = self.positions_B.tolist()
        found = self._stop.complete([row[:n] for row, n in zip(tokens, lengths, strict=True)])
        return torch.tensor(found, dtype=torch.bool, device=self.slots_B.device)

    def num_running(self) -> int:
        """Return how many rows in flight have not ended."""
        return int(self._running_B.sum())

    def compact(self) -> list[int]:
        """Let rows that ended leave; returns the places of those that stay."""
        kept_B = self._running_B.nonzero().squeeze(-1)
        self._select(self.slots_B[kept_B])
        return kept_B.tolist()

    def results(self) -> list[Sampled]:
        """Return all N rows."""
        rows = zip(
            self._tokens_NT.tolist(),
            self._logprobs_NT.tolist(),
            self._lengths_N.tolist(),
            self._stopped_N.tolist(),
            strict=True,
        )
        return [
            Sampled(token_ids=tuple(tokens[:n]), logprobs=tuple(logprobs[:n]), stopped=stopped)
            for tokens, logprobs, n, stopped in rows
        ]
