"""RIM, the judges as a reward: a prompt and a response -> a score with what each judge says.

    score = Σ w_j s_j / Σ w_j       over the active judges

Judges see ``prompt`` and ``response``, and whatever else is given by name (``reference``,
``baseline``, ``approach``, ``attempt``). Where one active judge abstains the whole abstains: a
member of a group that was judged by fewer judges than the others can't be compared with them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from atlas.config.parts.endpoint import EndpointConfig
from atlas.config.rim import RIMConfig, load_rim_config
from atlas.endpoint.budget import Budget, Usage
from atlas.endpoint.cache import AnswerCache
from atlas.endpoint.client import key_of
from atlas.endpoint.owner import JUDGES
from atlas.endpoint.service import Service, open_budget, open_cache
from atlas.endpoint.tally import Tally
from atlas.machine.background_loop import BackgroundLoop, side_by_side
from atlas.rewards.judges.ensemble import judge_together
from atlas.rewards.judges.judge import Judge, JudgeModel, load_judges
from atlas.rewards.judges.rim_result import (
    RIMReport,
    RIMResult,
    SinceLastReport,
    rim_report,
    weighted_score,
)

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class _PoolState:
    """What lives in the pool's event loop."""

    judges: tuple[Judge, ...]
    small: JudgeModel
    large: JudgeModel
    budget: Budget
    cache: AnswerCache


class RIMReward:
    """The judges of one configuration file.

    Args:
        config_path: Such as ``configs/rim_config.yaml``.
        say: Takes the lines that a pause is announced with; by default they are logged as warnings.
        spent: What an earlier part of the run has spent, of this process's part of the budget.
        parts: Processes that share the budget, each an equal part.

    Raises:
        AtlasError: The configuration is wrong.

    Example:
        >>> reward = RIMReward(config_path="configs/rim_config.yaml")      # doctest: +SKIP
        >>> reward.evaluate(prompt="Calculate 2 + 3.", response="5").score # doctest: +SKIP
        0.9
    """

    def __init__(
        self,
        config_path: str | Path = "configs/rim_config.yaml",
        *,
        config: RIMConfig | None = None,
        say: Callable[[str], None] = _log.warning,
        spent: Usage | None = None,
        parts: int = 1,
    ) -> None:
        self._parts = parts
        self._config = config or load_rim_config(config_path)
        self._judges = load_judges(self._config)
        for endpoint in (self._config.small, self._config.large or self._config.small):
            key_of(endpoint, os.environ)  # a run must not find out after an hour that it is missing
        self._say = say
        self._spent = spent or Usage()
        self._pool = BackgroundLoop("judges")
        self._bench: _PoolState | None = None
        self._lock = threading.Lock()
        self._since = SinceLastReport(tally=Tally(usage=self._spent))
        self._past: Counter[str] = Counter()

    def evaluate(self, *, prompt: str, response: str, **context: str) -> RIMResult:
        """Judge one response and wait for the result; works inside an event loop too.

        Args:
            **context: What else the judges should see, such as ``reference="14"``.

        Raises:
            AtlasError: The budget is used up, or an endpoint is set up wrongly or out of order.
        """
        return self._wait(self.submit(prompt=prompt, response=response, **context))

    async def evaluate_async(self, *, prompt: str, response: str, **context: str) -> RIMResult:
        """Do what ``evaluate`` does, from a coroutine of any event loop."""
        return await asyncio.wrap_future(self.submit(prompt=prompt, response=response, **context))

    def evaluate_batch(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        contexts: Sequence[Mapping[str, str]] | None = None,
    ) -> list[RIMResult]:
        """Judge many responses side by side, in their order.

        Raises:
            AtlasError: As ``evaluate``; all the rest is stopped then.
            ValueError: The sequences differ in length.
        """
        contexts = contexts if contexts is not None else [{}] * len(prompts)
        items = [
            {**context, "prompt": prompt, "response": response}
            for prompt, response, context in zip(prompts, responses, contexts, strict=True)
        ]
        return self._wait(self._pool.submit(side_by_side(map(self._judge, items))))

    def submit(self, *, prompt: str, response: str, **context: str) -> Future[RIMResult]:
        """Begin to judge one response; the future has the result when the judges are done."""
        material = {**context, "prompt": prompt, "response": response}
        return self._pool.submit(self._judge(material))

    @property
    def spent(self) -> Usage:
        """What the judges have cost, with what was given as spent."""
        return self._bench.budget.spent if self._bench is not None else self._spent

    def report(self) -> RIMReport:
        """Return what happened since the last report; call it once a logged step."""
        with self._lock:
            now = Tally(usage=self.spent, outcomes=self._outcomes())
            before, self._since = self._since, SinceLastReport(tally=now)
        return rim_report(before, now)

    def close(self) -> None:
        """Stop what is under way and close connections and cache."""
        if self._bench is not None:
            self._spent, self._past = self.spent, self._outcomes()
            self._pool.submit(self._close_bench(self._bench)).result()
            self._bench = None
        self._pool.close()

    def __enter__(self) -> RIMReward:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _judge(self, material: Mapping[str, str]) -> RIMResult:
        bench = self._open_bench()
        # The same order whoever asks, so that the same question has the same key in the cache.
        ordered = {"prompt": material["prompt"], **dict(sorted(material.items()))}
        found = await asyncio.gather(
            *(
                judge_together(
                    judge,
                    ordered,
                    small=bench.small,
                    large=bench.large,
                    settings=self._config.settings,
                )
                for judge in bench.judges
            )
        )
        names = [judge.name for judge in bench.judges]
        weights = [judge.weight for judge in bench.judges]
        judges = dict(zip(names, found, strict=True))
        result = RIMResult(score=weighted_score(found, weights), judges=judges)
        with self._lock:
            self._since.results.append(result)
        return result

    def _open_bench(self) -> _PoolState:
        """Make what lives in the loop, in the loop."""
        if self._bench is None:
            settings = self._config.settings
            budget = open_budget(settings, owner=JUDGES, spent=self._spent, parts=self._parts)
            cache = open_cache(settings, JUDGES)
            small = self._model(self._config.small, budget, cache)
            large = self._config.large
            self._bench = _PoolState(
                judges=self._judges,
                small=small,
                large=small if large is None else self._model(large, budget, cache),
                budget=budget,
                cache=cache,
            )
        return self._bench

    def _model(self, config: EndpointConfig, budget: Budget, cache: AnswerCache) -> JudgeModel:
        settings = self._config.settings
        service = Service(config, settings, budget=budget, cache=cache, owner=JUDGES, say=self._say)
        return JudgeModel(
            service=service, max_tokens=config.max_tokens, max_chars=settings.max_chars
        )

    async def _close_bench(self, bench: _PoolState) -> None:
        await bench.small.service.endpoint.close()
        if bench.large is not bench.small:
            await bench.large.service.endpoint.close()
        bench.cache.close()

    def _outcomes(self) -> Counter[str]:
        bench = self._bench
        if bench is None:
            return self._past
        models = [bench.small, *([] if bench.large is bench.small else [bench.large])]
        return sum((Counter(model.service.outcomes) for model in models), self._past)

    def _wait(self, pending: Future[T]) -> T:
        try:
            return pending.result()
        except KeyboardInterrupt:
            pending.cancel()
            raise
