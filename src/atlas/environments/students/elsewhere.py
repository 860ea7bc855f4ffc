"""What students that answer elsewhere have in common: many attempts at a time.

Input: tasks and teachings. Output: attempts; of a student that is asked several times, all of them
as one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from atlas.config.parts.student import StudentConfig
from atlas.endpoint.tally import Tally, call_metrics
from atlas.environments.students.student import Student
from atlas.errors import AtlasError
from atlas.machine.background_loop import BackgroundLoop, side_by_side
from atlas.types import Attempt, Task

T = TypeVar("T")

PATIENCE_S = 10.0
"""Beyond an attempt's deadline, before the loop is asked whether anything runs in it."""


class Elsewhere(Student):
    """A student whose attempts are waited for, side by side.

    Args:
        config: The keys that begin with ``student``.
        answer_format: How it marks its final answer.
    """

    waits = True

    def __init__(self, config: StudentConfig, *, answer_format: str) -> None:
        self.answer_format = answer_format
        self._config = config
        self._loop = BackgroundLoop("student")
        self._reported = self._tally()

    def attempt(
        self,
        tasks: Sequence[Task],
        teachings: Sequence[str | None],
        *,
        seed: int = 0,
        before: Sequence[Attempt] | None = None,
    ) -> list[Attempt]:
        """See `Student.attempt`."""
        size = self._config.student_samples
        earlier = [None] * len(tasks) if before is None else before
        made = self._wait(
            self._attempt(task, teaching, sample, first)
            for task, teaching, first in zip(tasks, teachings, earlier, strict=True)
            for sample in range(size)
        )
        return [Attempt.together(made[i : i + size]) for i in range(0, len(made), size)]

    def metrics(self) -> Mapping[str, float]:
        """See `Student.metrics`."""
        before, self._reported = self._reported, self._tally()
        return call_metrics("student", before, self._reported)

    def close(self) -> None:
        """See `Student.close`."""
        self._loop.close()

    @abstractmethod
    async def _attempt(
        self, task: Task, teaching: str | None, sample: int, before: Attempt | None
    ) -> Attempt:
        """Return one attempt; what goes wrong with it alone is an abstention."""

    @abstractmethod
    def _tally(self) -> Tally:
        """Return what all attempts came to so far."""

    def _wait(self, work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        """Do all the work side by side.

        Raises:
            AtlasError: Something of it doesn't let anything else run.
        """
        pending = self._loop.submit(side_by_side(work))
        patience = self._config.student_deadline_s + PATIENCE_S
        try:
            while True:
                try:
                    return pending.result(patience)
                except TimeoutError:
                    if pending.done():
                        raise
                if not self._loop.answers(patience):
                    raise AtlasError(
                        f"{self._config.student_name} keeps everything else waiting for more than "
                        f"{patience:g} s: it must await what takes long (asyncio.to_thread for "
                        "what can't be awaited)"
                    )
        finally:
            pending.cancel()
