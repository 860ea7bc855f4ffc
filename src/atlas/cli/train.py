"""``atlas train`` and ``train.py``: the job that a file is for, whichever it is."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from atlas.config.grammar.compose import job_of
from atlas.config.grammar.schema import nearest
from atlas.errors import AtlasError
from atlas.parallel.world import world

_MODULES = {
    "sft": "sft",
    "grpo": "grpo",
    "ranked": "from_scratch",
    "quickstart": "quickstart",
    "base_model": "base_model",
    "collect": "collect",
    "evaluate": "evaluate",
}
"""Job -> the module of its command: only the one that runs is imported."""
DISTRIBUTED = ("sft", "grpo")
"""Jobs that several processes can share."""


def run(source: str, overrides: Sequence[str], *, fresh: bool, dry_run: bool = False) -> None:
    """Run the command."""
    job = job_of(source, overrides)
    if dry_run:
        plan = importlib.import_module("atlas.cli.dry_run")
        plan.run(job, source, overrides)
        return
    check_job(job, world().size)
    command = importlib.import_module(f"atlas.cli.{_MODULES[job]}")
    command.run(source=source, overrides=overrides, fresh=fresh)


def check_job(job: str, num_processes: int) -> None:
    """Refuse a job that isn't there, or that isn't done by so many processes.

    Raises:
        AtlasError: It isn't.
    """
    if job not in _MODULES:
        raise AtlasError(f"there is no job '{job}'{nearest(job, _MODULES)}")
    if num_processes > 1 and job not in DISTRIBUTED:
        raise AtlasError(f"the job {job} runs in one process, not in {num_processes}")
