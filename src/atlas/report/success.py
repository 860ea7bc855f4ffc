"""A run directory -> the short table that a training ends with: which marks of success it meets."""

from __future__ import annotations

from pathlib import Path

from atlas.report.run_files import read_run
from atlas.run.goals import goal_lines, goals_of


def success_lines(folder: Path, stage: str) -> list[str]:
    """Return what a finished stage is to be told about; empty where nothing of it was logged.

    Args:
        folder: A run directory.
        stage: ``sft``, ``grpo``, ``pretrain`` or ``ranked``.
    """
    run = read_run(folder)
    if stage not in run.curves:
        return []
    goals = goals_of(stage, run.curves[stage], run.bounds[stage])
    if not goals:
        return []
    missed = sum(goal.state == "missed" for goal in goals)
    lines = [f"{stage}, the guide's marks of success:"]
    lines += [f"  {line}" for line in goal_lines(goals)]
    if missed:
        lines.append(f"  what to do first: atlas doctor {folder}")
    return lines
