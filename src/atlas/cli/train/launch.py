"""``atlas launch`` and ``scripts/launch.sh``: one job in N processes of this machine.

Whatever can be wrong with the command is found before anything loads; then torchrun starts the
processes, each of which is ``atlas train``. One process is started like several, so that the same
command means the same at every N.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from atlas.cli.options import (
    DryRun,
    Fresh,
    OverrideConfig,
    Overrides,
    PlanJson,
    Source,
    command_app,
)
from atlas.cli.train.train import check_job
from atlas.errors import AtlasError, OutageError
from atlas.parallel.world import World

_SHUTDOWN_SECONDS = 3600
"""After Ctrl-C the processes end their step and save; a step of a large model takes minutes."""


app = command_app()


@app.command()
def launch(
    processes: Annotated[str, typer.Argument(metavar="N", help="Processes, one a GPU")],
    config: Source,
    overrides: Overrides,
    fresh: Fresh = False,
    override_config: OverrideConfig = False,
    dry_run: DryRun = False,
    as_json: PlanJson = False,
) -> None:
    """Run the job that a file is for in N processes of this machine, on its GPUs or its CPU."""
    if dry_run or as_json:
        from atlas.cli.train.dry_run import show_plan
        from atlas.config.grammar.compose import job_of

        number = number_of(processes)
        place = World(size=number, local_size=number)
        show_plan(job_of(config, overrides), config, overrides, place, as_json=as_json)
        return
    number = checked(processes, config, overrides)
    options = {"--fresh": fresh, "--override-config": override_config}
    given = [name for name, is_given in options.items() if is_given]
    words = ["train", config, *given, "--", *overrides]
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // number)))
    _torchrun(number, words)


def checked(processes: str, source: str, overrides: Sequence[str]) -> int:
    """Return the number of processes, once the command is known to make sense.

    Raises:
        AtlasError: The number isn't one or there aren't so many GPUs; a file isn't there; a key is
            unknown or wrong.
    """
    from atlas.config import JOBS
    from atlas.config.grammar.compose import job_of, load_config

    number = number_of(processes)
    job = job_of(source, overrides)
    check_job(job, number)
    load_config(JOBS[job], source, overrides, world_size=number)
    gpus = visible_gpus()
    if gpus and number > gpus:
        raise AtlasError(
            f"{number} processes need {number} GPUs, but {gpus} can be seen; ask for {gpus}, or "
            "set CUDA_VISIBLE_DEVICES= to train on the CPU"
        )
    return number


def number_of(processes: str) -> int:
    """Return the number of processes that a word says.

    Raises:
        AtlasError: It says none.
    """
    number = int(processes) if processes.isdecimal() else 0
    if number < 1:
        raise AtlasError(
            f"'{processes}' is no number of processes; write: scripts/launch.sh 2 "
            "configs/run/teacher_sft.yaml"
        )
    return number


def visible_gpus(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of NVIDIA GPUs that a process of ours would see, without loading torch."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return len([name for name in chosen.split(",") if name.strip() not in ("", "-1")])
    command = shutil.which("nvidia-smi", path=environment.get("PATH"))
    if command is None:
        return 0
    listed = subprocess.run([command, "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def _torchrun(number: int, words: Sequence[str]) -> None:
    """Start the processes and wait for them; ends this process if they didn't end well."""
    # What they have to say they say themselves.
    os.environ.setdefault("TORCHELASTIC_ERROR_FILE", os.devnull)
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing import api, errors

    arguments = [
        *("--standalone", "--nproc-per-node", str(number)),
        *("--shutdown-timeout", str(_SHUTDOWN_SECONDS)),
        *("--module", "atlas", *words),
    ]
    try:
        torchrun.run(torchrun.parse_args(arguments))
    except errors.ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            raise OutageError(f"rank {rank} was killed ({failure.signal_name()})") from error
        sys.exit(failure.exitcode)
    except api.SignalException as stopped:
        sys.exit(128 + stopped.sigval)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
