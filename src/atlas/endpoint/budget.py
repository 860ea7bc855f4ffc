"""What calls may cost: how many, tokens, money; and what they have cost.

A call reserves the most that it can cost before it goes out and settles for what it did cost when
it is back, so that a limit isn't passed by the calls that were on their way when it was reached.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import asdict, dataclass

from atlas.endpoint.owner import JUDGES, Owner
from atlas.errors import AtlasError


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What calls cost.

    Example:
        >>> (Usage(calls=1, input_tokens=10) + Usage(calls=1, output_tokens=5)).tokens
        15
    """

    calls: int = 0
    """Attempts that went out; a retry is one more."""
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    """In the currency of the prices given."""

    @property
    def tokens(self) -> int:
        """In and out."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: one + getattr(other, name) for name, one in asdict(self).items()})

    def __sub__(self, other: Usage) -> Usage:
        return Usage(**{name: one - getattr(other, name) for name, one in asdict(self).items()})

    def part(self, parts: int) -> Usage:
        """Return one of so many equal parts, counts rounded up.

        Example:
            >>> Usage(calls=3, cost=1.0).part(2)
            Usage(calls=2, retries=0, input_tokens=0, output_tokens=0, cost=0.5)
        """
        counts = {name: math.ceil(count / parts) for name, count in asdict(self).items()}
        return Usage(**{**counts, "cost": self.cost / parts})


class Budget:
    """Limits that all calls of one owner share in a run. Belongs to one event loop.

    Args:
        max_calls: None: no limit; likewise the others.
        max_tokens: In and out.
        max_cost: In the currency of the prices.
        spent: What an earlier part of the run has spent already, of this part of the limits.
        parts: Equal parts that the limits are cut into, of which this budget is one.
        owner: Who asks, for messages.
    """

    def __init__(
        self,
        *,
        max_calls: int | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        spent: Usage | None = None,
        parts: int = 1,
        owner: Owner = JUDGES,
    ) -> None:
        self._limits = {
            "max_calls": max_calls,
            "max_total_tokens": max_tokens,
            "max_cost": max_cost,
        }
        self._parts, self._owner = parts, owner
        self._spent = spent or Usage()
        self._reserved = Usage()
        self._settled = asyncio.Condition()

    @property
    def spent(self) -> Usage:
        """What has been settled so far."""
        return self._spent

    async def reserve(self, expected: Usage) -> None:
        """Wait until a call fits beside those on their way.

        Raises:
            AtlasError: It doesn't fit although none is on its way.
        """
        async with self._settled:
            while reached := self._reached(expected):
                if self._reserved.calls == 0:
                    raise AtlasError(self._message(reached))
                await self._settled.wait()
            self._reserved += expected

    async def settle(self, expected: Usage, actual: Usage) -> None:
        """Put what a call did cost in the place of what it reserved."""
        async with self._settled:
            self._reserved -= expected
            self._spent += actual
            self._settled.notify_all()

    def _reached(self, expected: Usage) -> str:
        """Return the name of a limit that one more call could pass; empty where none."""
        total = self._spent + self._reserved + expected
        values = {
            "max_calls": total.calls,
            "max_total_tokens": total.tokens,
            "max_cost": total.cost,
        }
        for name, limit in self._limits.items():
            if limit is not None and values[name] > limit / self._parts:
                return name
        return ""

    def _message(self, name: str) -> str:
        owner = self._owner
        share = "" if self._parts == 1 else f" (one of {self._parts} processes may use its part)"
        return (
            f"the {owner.possessive} budget is used up: {self._spent.calls:,} calls, "
            f"{self._spent.tokens:,} tokens, cost {self._spent.cost:.4g}, and one more call could "
            f"pass {owner.key(name)}={self._limits[name]}{share}; raise {owner.key(name)} and run "
            "the same command again (what is in the cache is free)"
        )
