"""``atlas serve`` and ``trainers/vllm_server.py``: one vLLM server in the foreground."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from atlas.cli.faults import complain
from atlas.cli.options import command_app
from atlas.cli.terminal import say
from atlas.errors import AtlasError, OutageError
from atlas.run.stopping import stop_on_signal

if TYPE_CHECKING:
    from atlas.serve.settings import ServerSettings

_LOOK_EVERY_S = 0.25

Port = Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one", min=0, max=65535)]
MaxModelLen = Annotated[
    int | None, typer.Option(help="Longest prompt and completion together, in tokens", min=1)
]
Cooldown = Annotated[
    float,
    typer.Option(
        "--restart-cooldown",
        help="Seconds after a restart within which another death of the server ends the command",
        min=0,
    ),
]

app = command_app()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="A folder, base, or a name on the hub")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in")
    ] = "127.0.0.1",
    port: Port = 8000,
    tensor_parallel_size: Annotated[
        int | None, typer.Option(help="GPUs that the model is split over", min=1)
    ] = None,
    gpu_memory_utilization: Annotated[
        float | None, typer.Option(help="Share of each GPU's memory to take", min=0, max=1)
    ] = None,
    max_model_len: MaxModelLen = None,
    dtype: Annotated[
        str | None, typer.Option(help="As vLLM's; a trainer in float32 wants float32")
    ] = None,
    served_model_name: Annotated[
        str | None, typer.Option(help="What requests call the model")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="VLLM_API_KEY", help="Asked for by generation")
    ] = None,
    max_lora_rank: Annotated[
        int | None, typer.Option(help="Serve LoRA adapters of up to this rank", min=1)
    ] = None,
    weight_transfer: Annotated[
        Literal["file", "nccl", "ipc"], typer.Option(help="How a trainer's weights will arrive")
    ] = "file",
    restart_cooldown: Cooldown = 600.0,
    log: Annotated[Path | None, typer.Option(help="File that keeps the server's output")] = None,
) -> None:
    """Serve a model with vLLM until Ctrl-C. All other flags go on to vLLM."""
    from atlas.models.packaged import unpacked
    from atlas.serve.settings import ServerSettings

    settings = ServerSettings(
        model=unpacked(model),
        host=host,
        port=port,
        served_name=served_model_name or model,
        tensor_parallel_size=tensor_parallel_size,
        gpu_memory_utilization=gpu_memory_utilization,
        max_model_len=max_model_len,
        dtype=dtype,
        api_key=api_key,
        lora_rank=max_lora_rank,
        transfer=weight_transfer,
        extra=tuple(context.args),
    )
    keep_serving(settings, log=log, cooldown_s=restart_cooldown)


def keep_serving(settings: ServerSettings, *, log: Path | None, cooldown_s: float) -> None:
    """Serve until a signal; ends this process with the server's exit code.

    Args:
        log: Where its output is kept; ``None``: beside its token.
        cooldown_s: Time after a restart within which another death ends the command.

    Raises:
        AtlasError: Port, model or lengths can't be; nothing was started then.
    """
    from atlas.serve.checks import check
    from atlas.serve.interpreter import TESTED, find_interpreter
    from atlas.serve.log import Follower
    from atlas.serve.settings import cpu_notes
    from atlas.serve.supervisor import RestartPolicy, Supervisor

    interpreter = find_interpreter()
    check(settings, interpreter)
    if settings.lora_rank is not None:
        # It loads torch, which most servers are started without.
        from atlas.serve.adapters import room_for_adapters

        settings = room_for_adapters(settings)
    if not interpreter.tested:
        say(
            f"vLLM {interpreter.version} is none of the versions that Atlas is tested with "
            f"({', '.join(TESTED)})"
        )
    for note in cpu_notes(settings) if interpreter.cpu else []:
        say(note)
    policy = RestartPolicy(cooldown_s=cooldown_s)
    server = Supervisor(settings, interpreter, policy=policy, log=log)
    with stop_on_signal(lambda: say("Stopping the server")) as stop, server:
        follower, ready = Follower(server.process.log), False
        try:
            while not stop.asked:
                was_ready, process = ready, server.process
                ready = server.check()
                if server.process is not process:
                    say("the server died and is started again; its weights are those of the folder")
                    follower = Follower(server.process.log)
                sys.stdout.write(follower.new_text())
                sys.stdout.flush()
                if ready and not was_ready:
                    greet(server.settings)
                time.sleep(_LOOK_EVERY_S)
        except AtlasError as error:
            complain(str(error))
            sys.exit(exit_code(server.process.returncode))
    sys.exit(0)


def greet(settings: ServerSettings) -> None:
    """Say that a server is ready, with commands that can be copied."""
    say(f"The server of {settings.model} is ready:")
    for line in curl_lines(settings):
        say(f"  {line}")


def curl_lines(settings: ServerSettings) -> list[str]:
    """Return commands that ask a server for its health and its models."""
    key = ' -H "Authorization: Bearer $VLLM_API_KEY"' if settings.api_key else ""
    return [f"curl {settings.url}/health", f"curl {settings.url}/v1/models{key}"]


def exit_code(returncode: int | None) -> int:
    """Return the exit code that says what a process's own said; signals as a shell does."""
    if returncode is None:
        return OutageError.exit_code
    return 128 - returncode if returncode < 0 else returncode
