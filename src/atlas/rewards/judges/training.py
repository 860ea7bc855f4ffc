"""The configured judges of a training: as a part of the reward, in the log, and over a restart.

Input: ``rim_config``. Output: a scorer of teachings; every step ``rim_rewards``,
``escalation_rate`` and what the judges cost as metrics, and their explanations in
``rim_explanations.jsonl``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.config.parts.reward import RewardConfig
from atlas.endpoint.budget import Usage
from atlas.endpoint.tally import joint_metrics
from atlas.parallel.distributed import ALONE, Ranks
from atlas.rewards.composition import JUDGES, Scorer
from atlas.rewards.judges.judged import judge_teachings
from atlas.run.files import disk_errors

if TYPE_CHECKING:
    from atlas.rewards.judges.rim import RIMReward


class TrainingJudges:
    """The judges of one run; none where none are configured.

    Args:
        config: ``rim_config`` names their file.
        spent: What `state` returned when an earlier part of the run was saved.
        explanations: The file that explanations are added to, a line a step.
        ranks: Who trains together; each judges its own rollouts, within its part of the limits.

    Raises:
        AtlasError: Their configuration is wrong, or an endpoint's key isn't in the environment.
    """

    def __init__(
        self,
        config: RewardConfig,
        *,
        spent: Mapping[str, Any] | None,
        explanations: Path,
        ranks: Ranks = ALONE,
    ) -> None:
        self._ranks = ranks
        self._rim: RIMReward | None = None
        if config.rim_config is not None and config.reward != "uplift":
            from atlas.rewards.judges.rim import RIMReward  # noqa: PLC0415 - slow to import

            own = Usage(**(spent or {})).part(ranks.size)
            self._rim = RIMReward(config.rim_config, spent=own, parts=ranks.size)
        self._explanations = explanations

    @property
    def scorers(self) -> dict[str, Scorer]:
        """Their part of the reward, by its name."""
        return {} if self._rim is None else {JUDGES: judge_teachings(self._rim)}

    def after_step(self, step: int) -> Mapping[str, float]:
        """Return the step's metrics, and write down why the judges judged as they did."""
        if self._rim is None:
            return {}
        report = self._rim.report()
        said = [dict(one) for one in report.rim_explanations]
        shares = self._ranks.gather((said, dict(report.metrics)), f"judges of step {step}")
        metrics = joint_metrics([metrics for _, metrics in shares])
        if not self._ranks.is_main:
            return metrics
        line = {"step": step, "rim_explanations": [one for said, _ in shares for one in said]}
        with (
            disk_errors(self._explanations),
            self._explanations.open("a", encoding="utf-8") as file,
        ):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        return metrics

    def state(self) -> dict[str, Any] | None:
        """Return what a checkpoint keeps: what was spent by all ranks together."""
        if self._rim is None:
            return None
        return self._ranks.sums(asdict(self._rim.spent), "what the judges cost")

    def close(self) -> None:
        """Stop what is under way."""
        if self._rim is not None:
            self._rim.close()
