"""``scripts/launch_with_server.sh``: servers on some GPUs, the training on others, one command.

Everything that can be wrong is found before anything starts. The training is started when both
servers answer; when it ends, or anything else does, exactly the processes that were started here
are stopped.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.cli.options import DryRun, Fresh, command_app, spread
from atlas.cli.serve.serve import Cooldown, MaxModelLen, Port, exit_code, greet
from atlas.cli.terminal import say
from atlas.cli.train.launch import visible_gpus
from atlas.cli.train.train import check_job
from atlas.errors import AtlasError
from atlas.run.stopping import StopRequest, stop_on_signal

if TYPE_CHECKING:
    from atlas.config import GRPOConfig
    from atlas.serve.gpus import GPUSplit
    from atlas.serve.interpreter import Interpreter
    from atlas.serve.job import Job
    from atlas.serve.settings import ServerSettings
    from atlas.serve.supervisor import Supervisor

_LOOK_EVERY_S = 0.25
_LONGEST = 8192
"""Tokens of a server's window where nobody says: models made for more would want a cache for it."""
_STOPPED = 130


app = command_app()


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchOptions:
    """What the command line says."""

    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[SERVER_GPUS TRAIN_GPUS] CONFIG [key=value]...",
            help="Two equal numbers, or none; a YAML file; settings",
        ),
    ]
    server_gpus: Annotated[int | None, typer.Option(help="GPUs for the servers", min=0)] = None
    train_gpus: Annotated[int | None, typer.Option(help="GPUs for the training", min=0)] = None
    port: Port = 8000
    max_model_len: MaxModelLen = None
    gpu_memory_utilization: Annotated[
        float, typer.Option(help="Share of a GPU's memory that its servers take", min=0, max=1)
    ] = 0.9
    ready_timeout: Annotated[
        float, typer.Option(help="Seconds that the servers may take to be ready", min=1)
    ] = 1800.0
    restart_cooldown: Cooldown = 600.0
    fresh: Fresh = False
    dry_run: DryRun = False


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchPlan:
    """What will be started."""

    servers: tuple[ServerSettings, ...]
    """The teacher's, then the student's."""
    interpreter: Interpreter
    command: tuple[str, ...]
    """The training."""
    train_gpus: str


@app.command()
@spread
def launch_with_server(request: LaunchOptions) -> None:
    """Start the servers of teacher and student, train with them, stop them."""
    from atlas.serve.job import Job
    from atlas.serve.supervisor import RestartPolicy, Supervisor

    if request.dry_run:
        show_training(request)
        return
    planned = plan(request)
    policy = RestartPolicy(cooldown_s=request.restart_cooldown)
    with (
        contextlib.suppress(KeyboardInterrupt),
        stop_on_signal(lambda: say("Stopping the training, then the servers")) as stop,
        contextlib.ExitStack() as started,
    ):
        servers: list[Supervisor] = []
        for settings in planned.servers:
            if shares_gpu(settings, servers):
                # While it loads, vLLM takes whatever else comes onto its GPU for its own.
                _wait_until_ready(servers, stop)
            server = Supervisor(
                settings, planned.interpreter, policy=policy, ready_s=request.ready_timeout
            )
            servers.append(started.enter_context(server))
            say(f"Starting a server of {settings.model}: {server.process.log}")
        _wait_until_ready(servers, stop)
        for server in servers:
            greet(server.settings)
        job = started.enter_context(
            Job(planned.command, {"CUDA_VISIBLE_DEVICES": planned.train_gpus})
        )
        sys.exit(exit_code(watch(job, servers, stop)))
    sys.exit(_STOPPED)


def shares_gpu(settings: ServerSettings, servers: Sequence[Supervisor]) -> bool:
    """Return whether a server gets a GPU that one of the others has."""
    own = set((settings.gpus or "").split(",")) - {""}
    return any(own & set((server.settings.gpus or "").split(",")) for server in servers)


def _wait_until_ready(servers: Sequence[Supervisor], stop: StopRequest) -> None:
    ready = False
    while not ready:
        if stop.asked:
            sys.exit(_STOPPED)
        # Every one is looked after, also while another isn't ready.
        ready = all([server.check() for server in servers])  # noqa: C419
        time.sleep(_LOOK_EVERY_S)


def watch(job: Job, servers: Sequence[Supervisor], stop: StopRequest) -> int:
    """Return how the training ended; until then look after the servers, and pass a Ctrl-C on.

    Raises:
        AtlasError: A server died twice.
    """
    told = False
    while (code := job.returncode) is None:
        if stop.asked and not told:
            job.ask_to_stop()
            told = True
        for server in servers:
            process = server.process
            server.check()
            if server.process is not process:
                say(f"The server of {server.settings.model} died and is started again")
        time.sleep(_LOOK_EVERY_S)
    return code


def show_training(request: LaunchOptions) -> None:
    """Print the plan of the training, for as many GPUs as the command line asks for.

    Raises:
        AtlasError: A setting is wrong, or the training doesn't fit.
    """
    from atlas.cli.train.dry_run import show_plan
    from atlas.parallel.world import World
    from atlas.serve.gpus import numbers_of

    numbers, source, overrides = parse(request.words)
    num_server, num_train = numbers_of(numbers, request.server_gpus, request.train_gpus)
    say(f"{num_server} GPUs for the two servers, {num_train} for the training")
    urls = [f"http://127.0.0.1:{request.port + place}" for place in (0, 1)]
    processes = max(1, num_train)
    place = World(size=processes, local_size=processes)
    show_plan("grpo", source, [*overrides, *_served_by(*urls)], place)


def _served_by(teacher: str, student: str) -> list[str]:
    """Return the settings of a training whose teacher and student are served there."""
    return [
        "rollout_engine=vllm",
        f"vllm_server_url={teacher}",
        f"student_server_url={student}",
    ]


def plan(request: LaunchOptions) -> LaunchPlan:
    """Return what will be started, once it is known to make sense.

    Raises:
        AtlasError: It doesn't.
    """
    from atlas.config import GRPOConfig
    from atlas.config.grammar.compose import job_of, load_config
    from atlas.serve.checks import check
    from atlas.serve.gpus import numbers_of, split
    from atlas.serve.interpreter import find_interpreter

    numbers, source, overrides = parse(request.words)
    num_server, num_train = numbers_of(numbers, request.server_gpus, request.train_gpus)
    processes = max(1, num_train)
    if (job := job_of(source, overrides)) != "grpo":
        raise AtlasError(
            f"{source} is for the job {job}, which needs no server; use scripts/launch.sh"
        )
    check_job(job, processes)
    config = load_config(GRPOConfig, source, overrides, world_size=processes)
    gpus = split(num_server, num_train, _visible() if num_server + num_train else [])
    interpreter = find_interpreter()
    _check_build(interpreter, num_server)
    servers = _servers(request, config, gpus, interpreter)
    for settings in servers:
        check(settings, interpreter)
    teacher, student = servers
    if config.use_peft:
        # It loads torch, which most trainings are planned without.
        from atlas.serve.adapters import room_for_adapters

        servers = room_for_adapters(teacher), student
    train = ["--fresh"] if request.fresh else []
    command = [
        *(sys.executable, "-m", "atlas", "launch", *train, str(processes), source, "--"),
        *overrides,
        *_served_by(teacher.url, student.url),
    ]
    return LaunchPlan(
        servers=servers,
        interpreter=interpreter,
        command=tuple(command),
        train_gpus=",".join(gpus.train),
    )


def parse(words: Sequence[str]) -> tuple[list[int], str, list[str]]:
    """Take the words apart: leading numbers, the configuration, settings.

    Example: ``parse(["1", "1", "a.yaml", "beta=0.1"])`` is ``([1, 1], "a.yaml", ["beta=0.1"])``.

    Raises:
        AtlasError: There is no configuration.
    """
    count = next((i for i, word in enumerate(words) if not word.isdecimal()), len(words))
    if count == len(words) or "=" in words[count]:
        raise AtlasError(
            "say which configuration: scripts/launch_with_server.sh 1 1 "
            "configs/run/teacher_rcl.yaml"
        )
    return [int(word) for word in words[:count]], words[count], list(words[count + 1 :])


def _visible() -> list[str]:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number in range(visible_gpus())]


def _check_build(interpreter: Interpreter, num_server: int) -> None:
    if num_server and interpreter.cpu:
        raise AtlasError(
            f"the vLLM in {interpreter.python} is built for CPUs, and can't serve on "
            f"{num_server} GPUs; put vllm into requirements/serve.txt and run make serve-env"
        )
    if not num_server and not interpreter.cpu:
        raise AtlasError(
            f"the vLLM in {interpreter.python} is built for GPUs, and can't serve on the CPU; give "
            "the servers a GPU, as in --server-gpus 1"
        )


def _servers(
    request: LaunchOptions, config: GRPOConfig, gpus: GPUSplit, interpreter: Interpreter
) -> tuple[ServerSettings, ServerSettings]:
    """The student is frozen and the teacher isn't, so they can't share a server's weights."""
    from atlas.models.packaged import unpacked
    from atlas.serve.checks import heads_of, longest, model_config
    from atlas.serve.gpus import shares, tensor_parallel
    from atlas.serve.settings import ServerSettings

    if config.student_here is None:
        raise AtlasError("a student's server is started, too, and no student_model is loaded here")
    names = (config.model_name_or_path, config.student_here)
    divided = shares(gpus.server, len(names))
    # Both on one GPU: each takes half of what may be taken.
    sharing = len(names) if len(gpus.server) == 1 else 1
    found = []
    for place, (name, own) in enumerate(zip(names, divided, strict=True)):
        path = unpacked(name)
        described = model_config(path)
        most = longest(described) or _LONGEST
        found.append(
            ServerSettings(
                model=path,
                served_name=name,
                port=request.port + place if request.port else 0,
                max_model_len=request.max_model_len or min(most, _LONGEST),
                dtype="float32" if interpreter.cpu else None,
                tensor_parallel_size=tensor_parallel(len(own), heads_of(described)),
                gpu_memory_utilization=request.gpu_memory_utilization / sharing if own else None,
                gpus=",".join(own),
                lora_rank=config.lora_r if config.use_peft and not place else None,
            )
        )
    return found[0], found[1]
