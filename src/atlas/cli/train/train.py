"""``atlas train`` and ``train.py``: the job that a file is for, whichever it is."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from atlas.cli.options import (
    DryRun,
    Fresh,
    OverrideConfig,
    Overrides,
    PlanJson,
    Source,
    command_app,
)
from atlas.errors import AtlasError
from atlas.parallel.world import world

JOBS = {
    "sft": "train.sft",
    "grpo": "train.grpo",
    "ranked": "from_scratch.ranked",
    "quickstart": "train.quickstart",
    "base_model": "train.base_model",
    "collect": "train.collect",
    "evaluate": "train.evaluate",
}
"""Job -> the module of its command: only the one that runs is imported."""
DISTRIBUTED = ("sft", "grpo")
"""Jobs that several processes can share."""
OVERRIDABLE = ("grpo", "quickstart", "sft")
"""Jobs that go on with other settings, where nothing learned depends on them."""

app = command_app()


@app.command()
def train(
    config: Source,
    overrides: Overrides,
    fresh: Fresh = False,
    override_config: OverrideConfig = False,
    dry_run: DryRun = False,
    as_json: PlanJson = False,
) -> None:
    """Run the job that a file is for; under torchrun, as one of its processes."""
    from atlas.config.grammar.compose import job_of

    job = job_of(config, overrides)
    if dry_run or as_json:
        from atlas.cli.train.dry_run import show_plan

        show_plan(job, config, overrides, as_json=as_json)
        return
    check_job(job, world().size)
    options = overriding(job) if override_config else {}
    command_of(job)(config=config, overrides=overrides, fresh=fresh, **options)


def command_of(job: str) -> Callable[..., Any]:
    """Return the command that does a job, as a function of config, overrides and fresh."""
    return getattr(importlib.import_module(f"atlas.cli.{JOBS[job]}"), job)


def overriding(job: str) -> dict[str, bool]:
    """Return the option of a job's command to go on with other settings.

    Raises:
        AtlasError: It has none.
    """
    if job not in OVERRIDABLE:
        raise AtlasError(
            f"--override-config is for runs of {', '.join(OVERRIDABLE)}; this is one of {job}"
        )
    return {"override_config": True}


def check_job(job: str, num_processes: int) -> None:
    """Refuse a job that isn't there, or that isn't done by so many processes.

    Raises:
        AtlasError: It isn't.
    """
    from atlas.config.grammar.schema import nearest

    if job not in JOBS:
        raise AtlasError(f"there is no job '{job}'{nearest(job, JOBS)}")
    if num_processes > 1 and job not in DISTRIBUTED:
        raise AtlasError(f"the job {job} runs in one process, not in {num_processes}")
