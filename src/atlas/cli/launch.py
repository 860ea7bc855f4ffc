"""``atlas launch`` and ``scripts/launch.sh``: one job in N processes of this machine.

Whatever can be wrong with the command is found before anything loads; then torchrun starts the
processes, each of which is ``atlas train``. One process is started like several, so that the same
command means the same at every N.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

from atlas.cli.train import check_job
from atlas.config import JOBS
from atlas.config.grammar.compose import job_of, load_config
from atlas.errors import AtlasError
from atlas.parallel.world import World

_SHUTDOWN_SECONDS = 3600
"""After Ctrl-C the processes end their step and save; a step of a large model takes minutes."""


def run(
    processes: str, source: str, overrides: Sequence[str], *, fresh: bool, dry_run: bool = False
) -> None:
    """Run the command."""
    if dry_run:
        number = number_of(processes)
        place = World(size=number, local_size=number)
        plan = importlib.import_module("atlas.cli.dry_run")
        plan.run(job_of(source, overrides), source, overrides, place)
        return
    number = checked(processes, source, overrides)
    words = ["train", source, *(["--fresh"] if fresh else []), "--", *overrides]
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // number)))
    _torchrun(number, words)


def checked(processes: str, source: str, overrides: Sequence[str]) -> int:
    """Return the number of processes, once the command is known to make sense.

    Raises:
        AtlasError: The number isn't one or there aren't so many GPUs; a file isn't there; a key is
            unknown or wrong.
    """
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
    torchrun = importlib.import_module("torch.distributed.run")
    errors = importlib.import_module("torch.distributed.elastic.multiprocessing.errors")
    api = importlib.import_module("torch.distributed.elastic.multiprocessing.api")
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
            raise AtlasError(f"rank {rank} was killed ({failure.signal_name()})") from error
        sys.exit(failure.exitcode)
    except api.SignalException:
        sys.exit(130)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
