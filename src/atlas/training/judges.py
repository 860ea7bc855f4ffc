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
from typing import Any

from atlas.config.grpo import GRPOConfig
from atlas.rewards.composition import JUDGES
from atlas.rewards.endpoint.budget import Usage
from atlas.rewards.exchange import TeachingScorer
from atlas.rewards.judged import judge_teachings
from atlas.rewards.rim import RIMReward
from atlas.runtime.files import disk_errors


class TrainingJudges:
    """The judges of one run; none where none are configured.

    Args:
        config: ``rim_config`` names their file.
        spent: What `state` returned when an earlier part of the run was saved.
        explanations: The file that explanations are added to, a line a step.

    Raises:
        AtlasError: Their configuration is wrong, or an endpoint's key isn't in the environment.
    """

    def __init__(
        self, config: GRPOConfig, *, spent: Mapping[str, Any] | None, explanations: Path
    ) -> None:
        self._rim: RIMReward | None = None
        if config.rim_config is not None and config.reward != "uplift":
            self._rim = RIMReward(config.rim_config, spent=Usage(**(spent or {})))
        self._explanations = explanations

    @property
    def scorers(self) -> dict[str, TeachingScorer]:
        """Their part of the reward, by its name."""
        return {} if self._rim is None else {JUDGES: judge_teachings(self._rim)}

    def after_step(self, step: int) -> Mapping[str, float]:
        """Return the step's metrics, and write down why the judges judged as they did."""
        if self._rim is None:
            return {}
        report = self._rim.report()
        line = {"step": step, "rim_explanations": [dict(said) for said in report.rim_explanations]}
        with (
            disk_errors(self._explanations),
            self._explanations.open("a", encoding="utf-8") as file,
        ):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        return report.metrics

    def state(self) -> dict[str, Any] | None:
        """Return what a checkpoint keeps: what was spent."""
        return None if self._rim is None else asdict(self._rim.spent)

    def close(self) -> None:
        """Stop what is under way."""
        if self._rim is not None:
            self._rim.close()
