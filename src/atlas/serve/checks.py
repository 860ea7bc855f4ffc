"""What is looked at before a server starts, so that a mistake is one line and not a minute's wait.

Input: `ServerSettings`. Output: nothing, or an AtlasError.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from atlas.errors import AtlasError, one_line
from atlas.json_file import read_json
from atlas.serve.interpreter import Interpreter
from atlas.serve.settings import ServerSettings, served_rank

CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""Of vLLM 0.32; with any other its engine dies at the first request."""
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_NUMBERS = (
    *_LENGTHS,
    *("num_key_value_heads", "num_attention_heads", "n_head", "head_dim", "hidden_size"),
    *("original_max_position_embeddings", "factor"),
)
_MOST = 10**12


def check(
    settings: ServerSettings, interpreter: Interpreter, environ: Mapping[str, str] = os.environ
) -> None:
    """Look at port, model and lengths.

    Raises:
        AtlasError: One of them can't be.
    """
    check_port(settings.host, settings.port)
    if settings.lora_rank is not None:
        served_rank(settings.lora_rank)
    config = model_config(settings.model)
    check_length(settings, config, environ)
    if interpreter.cpu:
        check_head_size(settings.model, config)


def check_port(host: str, port: int) -> None:
    """Raise an AtlasError where a server can't listen there."""
    with socket.socket(_family(host)) as probe:
        # As the server does: a port whose last connections are just over isn't in use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AtlasError(_no_port(host, port, error)) from error


def free_port(host: str) -> int:
    """Return a port on which nobody listens now."""
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _no_port(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is in use (lsof -i :{port} shows by what); stop that, or "
            f"choose another port, such as --port {port + 1}"
        )
    return (
        f"no server can listen on {host}:{port}: {error.strerror or error}; see --host and --port"
    )


def model_config(model: str) -> dict[str, Any]:
    """Return what a model's config.json says; of a model on the hub, that file is fetched.

    Raises:
        AtlasError: There is no such folder, or the hub doesn't have it or isn't reached.
    """
    folder = Path(model)
    if folder.is_dir():
        path = folder / "config.json"
        if not path.is_file():
            raise AtlasError(f"{folder} holds no model: there is no config.json in it")
    elif _looks_like_path(model):
        raise AtlasError(f"there is no folder {model}; --model is a folder or a name on the hub")
    else:
        path = _from_hub(model)
    return checked_config(read_json(path), path)


def checked_config(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return what config.json says, if what is looked at here are the numbers that they should be.

    Raises:
        AtlasError: One isn't; it is named.
    """
    parts = [config, text := config.get("text_config") or config]
    parts += [_scaling(text)] if isinstance(text, dict) else []
    for part in parts:
        if not isinstance(part, dict):
            raise AtlasError(f"{path}: {one_line(ascii(part), 80)} is where an object should be")
        for name in _NUMBERS:
            value = part.get(name)
            if value is not None and not (type(value) in (int, float) and 0 < value < _MOST):
                shown = one_line(ascii(value), 80)
                raise AtlasError(f"{path}: {name} is {shown}; copy or download the folder again")
    return config


def _scaling(text: Mapping[str, Any]) -> Any:
    return text.get("rope_scaling") or text.get("rope_parameters") or {}


def _looks_like_path(model: str) -> bool:
    """A name on the hub is ``owner/name``; everything else can only be a folder."""
    return model.startswith((".", "/", "~")) or model.count("/") != 1


def _from_hub(model: str) -> Path:
    cached = try_to_load_from_cache(model, "config.json")
    if isinstance(cached, str):
        return Path(cached)
    try:
        _reach_hub()
        return Path(hf_hub_download(model, "config.json", etag_timeout=10))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        said = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        raise AtlasError(
            f"{model} is neither a folder here nor a model that the hub gives ({said}); check the "
            "name, the network, and HF_TOKEN for a model behind a licence"
        ) from error


def _reach_hub() -> None:
    """Raise an OSError at once where the hub isn't reached; its own client tries for a while."""
    address = urlsplit(constants.ENDPOINT)
    if not constants.HF_HUB_OFFLINE and not getproxies():
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname or "", port), timeout=10).close()


def check_length(
    settings: ServerSettings, config: Mapping[str, Any], environ: Mapping[str, str] = os.environ
) -> None:
    """Raise an AtlasError where more tokens are asked for than the model was made for."""
    most = longest(config)
    if settings.max_model_len is None or most is None or settings.max_model_len <= most:
        return
    if environ.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") == "1":
        return
    raise AtlasError(
        f"--max-model-len {settings.max_model_len} is more than the {most} positions of "
        f"{settings.model}; give at most that"
    )


def longest(config: Mapping[str, Any]) -> int | None:
    """Return how many tokens a model was made for; ``None`` where its configuration doesn't say.

    Example: ``longest({"max_position_embeddings": 2048})`` is 2048.
    """
    text = config.get("text_config") or config
    most = next((int(text[name]) for name in _LENGTHS if text.get(name)), None)
    scaling = _scaling(text)
    kind = scaling.get("rope_type") or scaling.get("type")
    # These stretch the positions beyond what is written; llama3 and longrope are written stretched.
    if most is not None and kind in ("yarn", "linear", "dynamic"):
        original = scaling.get("original_max_position_embeddings") or most
        return max(most, int(original * float(scaling.get("factor", 1))))
    return most


def heads_of(config: Mapping[str, Any]) -> int | None:
    """Return the number of a model's attention heads; ``None`` where it doesn't say.

    Of grouped heads, those of keys and values: they are what is divided among GPUs.
    """
    text = config.get("text_config") or config
    return text.get("num_key_value_heads") or text.get("num_attention_heads") or text.get("n_head")


def check_head_size(model: str, config: Mapping[str, Any]) -> None:
    """Raise an AtlasError where vLLM's attention on the CPU can't do a model."""
    text = config.get("text_config") or config
    size = text.get("head_dim")
    if size is None and text.get("hidden_size") and text.get("num_attention_heads"):
        size = text["hidden_size"] // text["num_attention_heads"]
    if size is not None and size not in CPU_HEAD_SIZES:
        raise AtlasError(
            f"vLLM on the CPU can't serve {model}: the size of its attention heads is {size}, and "
            f"must be one of {', '.join(map(str, CPU_HEAD_SIZES))}; use rollout_engine=local"
        )
