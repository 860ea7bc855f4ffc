"""What watches the reward during training: the canary, and the length of what is said.

Input: the metrics of every step, and the policy now and then. Output: metrics, and warnings in
words. Nothing here changes the training; its random numbers are its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from atlas.rewards.drift import CanaryReading, divergence, is_wordy, verbosity
from atlas.types import Task

_WEIGHTED = "reward/"
_LENGTHS = ("train/teaching_tokens", "train/completion_tokens")
_GAINS = ("train/uplift", "train/reward")
"""What an environment logs, the first of them that it does."""


class RewardWatch:
    """Remembers what a reward did, and says when it no longer means teaching.

    Args:
        state: What `state` returned before the training was interrupted.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        state = state or {}
        self._looks = [
            CanaryReading(**{**look, "rewards": tuple(look["rewards"])})
            for look in state.get("looks", [])
        ]
        self._lengths: list[float] = list(state.get("lengths", []))
        self._uplifts: list[float] = list(state.get("uplifts", []))
        self._since: list[dict[str, float]] = list(state.get("since", []))
        self._warned: set[str] = set(state.get("warned", []))

    def state(self) -> dict[str, Any]:
        """Return all that it knows, for a checkpoint."""
        looks = [
            {
                "step": look.step,
                "canary": look.canary,
                "num_tasks": look.num_tasks,
                "rewards": list(look.rewards),
                "weighted": dict(look.weighted),
            }
            for look in self._looks
        ]
        return {
            "looks": looks,
            "lengths": self._lengths,
            "uplifts": self._uplifts,
            "since": self._since,
            "warned": sorted(self._warned),
        }

    def after_step(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Take a step's metrics; return those that compare it with the first steps."""
        kept = {name: value for name, value in metrics.items() if name.startswith(_WEIGHTED)}
        self._since.append({**kept, "train/reward": metrics["train/reward"]})
        self._lengths.append(_first_of(metrics, _LENGTHS))
        self._uplifts.append(_first_of(metrics, _GAINS))
        return {"train/verbosity": verbosity(self._lengths)}

    def look(self, step: int, canary: float, num_tasks: int) -> dict[str, float]:
        """Take a look at the canary; return whether it alarms."""
        known = [one for one in self._since if one["train/reward"] == one["train/reward"]]
        if known:
            names = sorted({name for one in known for name in one if name.startswith(_WEIGHTED)})
            self._looks.append(
                CanaryReading(
                    step=step,
                    canary=canary,
                    num_tasks=num_tasks,
                    rewards=tuple(one["train/reward"] for one in known),
                    weighted={
                        name.removeprefix(_WEIGHTED): fmean(one.get(name, 0.0) for one in known)
                        for name in names
                    },
                )
            )
        self._since = []
        return {"canary/alarm": float(divergence(self._looks) is not None)}

    def warnings(self) -> list[str]:
        """Return what to tell now; each thing once."""
        found: dict[str, str] = {}
        if gone := divergence(self._looks):
            found[f"canary {gone.part}"] = f"{gone}: look at grpo/rollouts before you trust it"
        if is_wordy(self._lengths, self._uplifts):
            times = verbosity(self._lengths)
            found["verbosity"] = (
                f"teachings are {times:.1f} times as long as at first, and no better"
            )
        new = [text for key, text in found.items() if key not in self._warned]
        self._warned |= found.keys()
        return new


def set_aside(tasks: Sequence[Task], size: int) -> tuple[Sequence[Task], Sequence[Task]]:
    """Return the tasks to train on and ``size`` others, chosen by the hash of their question."""
    chosen = {task.id for task in sorted(tasks, key=lambda task: task.id)[:size]}
    kept = [task for task in tasks if task.id not in chosen]
    return kept, [task for task in tasks if task.id in chosen]


def _first_of(metrics: Mapping[str, float], names: Sequence[str]) -> float:
    return next((metrics[name] for name in names if name in metrics), float("nan"))
