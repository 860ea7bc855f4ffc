"""The command line of guide B's step 2: servers, alone or together with the training.

``trainers/vllm_server.py`` and ``scripts/launch_with_server.sh`` are ``atlas serve`` and
``atlas launch-with-server``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

COOLDOWN_S = 600.0
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

MaxModelLen = Annotated[
    int | None,
    typer.Option(help="Longest prompt and completion together, in tokens", min=1),
]
Cooldown = Annotated[
    float,
    typer.Option(
        "--restart-cooldown",
        help="Seconds after a restart within which another death of the server ends the command",
        min=0,
    ),
]
Port = Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one", min=0, max=65535)]


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
    restart_cooldown: Cooldown = COOLDOWN_S,
    log: Annotated[Path | None, typer.Option(help="File that keeps the server's output")] = None,
) -> None:
    """Serve a model with vLLM until Ctrl-C. All other flags go on to vLLM."""
    from atlas.cli import serve as command
    from atlas.machine.shipped import model_path
    from atlas.serve.settings import ServerSettings

    settings = ServerSettings(
        model=model_path(model),
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
    command.run(settings, log=log, cooldown_s=restart_cooldown)


def launch_with_server(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[SERVER_GPUS TRAIN_GPUS] CONFIG [key=value]...",
            help="Two equal numbers, or none; a YAML file; settings",
        ),
    ],
    server_gpus: Annotated[int | None, typer.Option(help="GPUs for the servers", min=0)] = None,
    train_gpus: Annotated[int | None, typer.Option(help="GPUs for the training", min=0)] = None,
    port: Port = 8000,
    max_model_len: MaxModelLen = None,
    gpu_memory_utilization: Annotated[
        float, typer.Option(help="Share of a GPU's memory that its servers take", min=0, max=1)
    ] = 0.9,
    ready_timeout: Annotated[
        float, typer.Option(help="Seconds that the servers may take to be ready", min=1)
    ] = 1800,
    restart_cooldown: Cooldown = COOLDOWN_S,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete what an earlier run left and start over")
    ] = False,
) -> None:
    """Start the servers of teacher and student, train with them, stop them."""
    from atlas.cli import launch_with_server as command

    request = command.Request(
        words=tuple(words),
        server_gpus=server_gpus,
        train_gpus=train_gpus,
        port=port,
        max_model_len=max_model_len,
        gpu_memory_utilization=gpu_memory_utilization,
        ready_s=ready_timeout,
        cooldown_s=restart_cooldown,
        fresh=fresh,
    )
    command.run(request)


def register(app: typer.Typer) -> None:
    """Add both as commands."""
    app.command("serve", context_settings=PASS_ON)(serve)
    app.command("launch-with-server")(launch_with_server)
