"""Many questions about text that nobody has checked, to the jailed processes of one worker.

Input: items for a file that `atlas.rewards.sandbox.forks.serve` runs in. Output: a `Reply` each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.errors import AtlasError, one_line
from atlas.rewards.verifiers.line_process import LineProcess

CPU_SECONDS = 5.0
"""Of the processor for one item, after which it is ended."""
_WALL_SECONDS = 60.0
_START_LIMIT = 300.0
_MOST_PROCESSES = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What came of one item: a value, else why there is none."""

    value: Any = None
    failed: str = ""
    """It raised, took too long, or ended its process."""
    starved: str = ""
    """Nothing can be said: the machine gave no process or no time."""


class JailedWorker:
    """Asks a worker; threads take turns.

    Args:
        file: From the folder of this one, or anywhere by its whole path.
        what: What it does, for messages: "mathematics", for example.
    """

    def __init__(self, file: str, *, what: str) -> None:
        self._process = LineProcess(file, start_limit=_START_LIMIT)
        self._what = what

    def ask(
        self,
        items: Sequence[Any],
        *,
        cpu_seconds: float = CPU_SECONDS,
        shared: Mapping[str, Any] | None = None,
    ) -> list[Reply]:
        """Return a reply to each item.

        Args:
            items: What JSON can carry.
            cpu_seconds: For one item.

        Raises:
            AtlasError: This system can't jail a process; nothing was looked at.
        """
        if not items:
            return []
        most = min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)
        children = min(most, len(items))
        request = {**(shared or {}), "items": items, "cpu_seconds": cpu_seconds}
        limit = _WALL_SECONDS * (2 + -(-len(items) // children))
        try:
            reply = self._process.ask({**request, "children": children}, time_limit=limit)
        except TimeoutError:
            return [Reply(starved=f"no answer within {limit:g} s")] * len(items)
        except ConnectionError as error:
            return [Reply(starved=str(error))] * len(items)
        if "unjailed" in reply:
            raise AtlasError(
                f"this system can't jail a process ({reply['unjailed']}), so no answer was given "
                f"to the verifier of {self._what}; it takes Linux with seccomp on x86-64 or ARM64"
            )
        if "starved" in reply:
            return [Reply(starved=one_line(reply["starved"]))] * len(items)
        return [_reply(one) for one in reply["results"]]

    def close(self) -> None:
        """End the worker, where there is one."""
        self._process.close()


def _reply(said: Mapping[str, Any]) -> Reply:
    if "failed" in said:
        return Reply(failed=one_line(said["failed"]) or "it failed")
    if "starved" in said:
        return Reply(starved=one_line(said["starved"]) or "no time")
    return Reply(value=said["value"])
