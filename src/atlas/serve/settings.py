"""What a server is started with, and the command line and environment that make it so.

Input: `ServerSettings` and an `Interpreter`. Output: plain lists and mappings; nothing is started
here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from atlas.errors import AtlasError
from atlas.serve.inside.gate import TOKEN_FILE
from atlas.serve.interpreter import Interpreter

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
CPU_CACHE_GB = 1
"""For keys and values on a CPU, where ``VLLM_CPU_KVCACHE_SPACE`` says nothing else."""

Transfer = Literal["file", "nccl", "ipc"]

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Of adapters that vLLM makes room for, in rising order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """One server.

    Example: ``ServerSettings(model="checkpoints/sft/final", port=8765)``
    """

    model: str
    """A folder, or a name on the hub."""
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    """0: one that is free."""
    served_name: str | None = None
    """What requests call the model; ``None``: as ``model``."""
    tensor_parallel_size: int | None = None
    gpu_memory_utilization: float | None = None
    max_model_len: int | None = None
    """Longest prompt and completion together, in tokens; ``None``: the model's own."""
    dtype: str | None = None
    api_key: str | None = None
    """Asked for by generation; passed through the environment, which only this user can read."""
    transfer: Transfer = "file"
    """How weights will arrive (`atlas.serve.transfer`)."""
    lora_rank: int | None = None
    """Serve adapters of up to this rank."""
    lora_layers: tuple[str, ...] = ()
    """Last names of the layers that adapters may change (`atlas.serve.adapters`); empty: any."""
    gpus: str | None = None
    """``CUDA_VISIBLE_DEVICES`` of the server; ``None``: as here."""
    extra: tuple[str, ...] = ()
    """More flags of vLLM, as they are."""

    @property
    def url(self) -> str:
        """Where this machine reaches it."""
        host = DEFAULT_HOST if self.host in ("0.0.0.0", "") else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def served_rank(rank: int) -> int:
    """Return the smallest rank that vLLM makes room for and an adapter of this rank fits into.

    Raises:
        AtlasError: There is none.

    Example:
        >>> served_rank(4), served_rank(16)
        (8, 16)
    """
    for known in _RANKS:
        if rank <= known:
            return known
    raise AtlasError(f"vLLM serves adapters up to rank {_RANKS[-1]}, not {rank}; lower lora_r")


def server_command(
    settings: ServerSettings, interpreter: Interpreter, environ: Mapping[str, str] = os.environ
) -> list[str]:
    """Return the command line. It holds no secret."""
    flags: list[tuple[str, object]] = [
        ("--model", _absolute(settings.model)),
        ("--host", settings.host),
        ("--port", settings.port),
        # Requests use the name that the user wrote, whatever folder they were in.
        ("--served-model-name", settings.served_name or settings.model),
        ("--max-model-len", settings.max_model_len),
        ("--dtype", settings.dtype),
    ]
    if not interpreter.cpu or _binds_threads(environ):
        flags.append(("--tensor-parallel-size", settings.tensor_parallel_size))
    if not interpreter.cpu:
        flags.append(("--gpu-memory-utilization", settings.gpu_memory_utilization))
    flags.append(("--worker-extension-cls", "atlas.serve.inside.worker.AtlasWorker"))
    flags.append(("--middleware", "atlas.serve.inside.gate.Gate"))
    if settings.transfer == "nccl":
        flags.append(("--weight-transfer-config", json.dumps({"backend": "nccl"})))
    if settings.lora_rank is not None:
        flags.append(("--max-lora-rank", served_rank(settings.lora_rank)))
    words = [str(word) for flag in flags if flag[1] is not None for word in flag]
    # Token ids in and out, with the version of the weights and what the prefix cache gave.
    switches = ["--enable-scale-out", "--enable-prompt-tokens-details"]
    switches += ["--disable-uvicorn-access-log"]
    if settings.lora_rank is not None:
        layers = ["--lora-target-modules", *settings.lora_layers] if settings.lora_layers else []
        switches += ["--enable-lora", *layers]
    # Compiling takes half a minute and a C++ compiler; --no-enforce-eager among the extra flags
    # asks for it all the same.
    # With chunked prefill a request's own seed kills the engine on the CPU.
    switches += ["--enforce-eager", "--no-enable-chunked-prefill"] if interpreter.cpu else []
    program = [str(interpreter.python), "-m", "atlas.serve.inside.vllm_process"]
    return [*program, *words, *switches, *settings.extra]


def server_environ(
    settings: ServerSettings,
    interpreter: Interpreter,
    *,
    code: Path,
    token: Path,
    environ: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """Return the whole environment of the server.

    Args:
        code: A folder in which ``atlas`` is, and nothing else.
        token: The file with the control token.
        environ: The environment here. What it says about vLLM is kept.
    """
    inherited = {
        name: text
        for name, text in environ.items()
        if name not in _NOT_INHERITED and not name.startswith(_TORCHRUN)
    }
    given = {"PYTHONPATH": str(code), "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    given |= {"VLLM_SERVER_DEV_MODE": "1", TOKEN_FILE: str(token)}
    if settings.lora_rank is not None:
        given["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    if settings.api_key is not None:
        given["VLLM_API_KEY"] = settings.api_key
    if settings.gpus is not None:
        given["CUDA_VISIBLE_DEVICES"] = settings.gpus
    if Path(settings.model).is_dir():
        given["HF_HUB_OFFLINE"] = "1"
    # The log-probabilities that a trainer needs come from the first runner's sampler.
    usual = {"VLLM_USE_V2_MODEL_RUNNER": "0"}
    if interpreter.cpu:
        usual["VLLM_CPU_KVCACHE_SPACE"] = str(CPU_CACHE_GB)
        # Trainer and server share the cores; threads that are bound to some would fight for them.
        usual["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    return usual | inherited | given


def cpu_notes(settings: ServerSettings, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return what the GPU flags of a server mean on a CPU: one line each."""
    notes = []
    if settings.gpu_memory_utilization is not None:
        space = environ.get("VLLM_CPU_KVCACHE_SPACE", str(CPU_CACHE_GB))
        notes.append(
            "on the CPU --gpu-memory-utilization has no meaning: the cache for keys and values "
            f"gets {space} GB (VLLM_CPU_KVCACHE_SPACE)"
        )
    if (settings.tensor_parallel_size or 1) > 1 and not _binds_threads(environ):
        notes.append(
            f"on the CPU --tensor-parallel-size {settings.tensor_parallel_size} is read as 1; set "
            "VLLM_CPU_OMP_THREADS_BIND, such as 0-15|16-31, to split the model over sockets"
        )
    return notes


_NOT_INHERITED = {
    *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "VLLM_ALLOW_INSECURE_SERIALIZATION"),
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME"),
    *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT"),
}
"""The fourth would let the server unpickle what it is sent. Those after it are torchrun's, of the
training's processes: a server that is started by one of them would look for the others."""
_TORCHRUN = ("TORCHELASTIC_", "TORCH_NCCL_")


def _binds_threads(environ: Mapping[str, str]) -> bool:
    return "|" in environ.get("VLLM_CPU_OMP_THREADS_BIND", "")


def _absolute(model: str) -> str:
    folder = Path(model)
    return str(folder.resolve()) if folder.is_dir() else model
