"""What a machine has of what training wants: one `Check` each, in words.

Nothing here starts or changes anything.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import psutil
from huggingface_hub import constants

from atlas.installing import install_command
from atlas.machine.hub import hub_answers

State = Literal["ok", "note", "problem"]

_GB: Final = 1e9
_ENOUGH_DISK: Final = 5 * _GB
_ENOUGH_MEMORY: Final = 4 * _GB
_PACKAGES: Final = ("torch", "transformers", "peft", "datasets", "tokenizers", "safetensors")
_OPTIONAL: Final = {
    "deepspeed": "deepspeed=…",
    "flash-attn": "attn_implementation=flash_attention_2",
    "bitsandbytes": "load_in_4bit=true",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    """``note``: something is missing that not everybody needs."""
    text: str


def machine_checks(folder: Path) -> Iterator[Check]:
    """Look at interpreter, packages, devices, memory, disk and hub."""
    yield _check("python", f"{platform.python_version()} on {platform.platform()}")
    versions = {name: _version(name) for name in _PACKAGES}
    missing = [name for name, version in versions.items() if version is None]
    there = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    yield _check("packages", there)
    if missing:
        text = f"needs {', '.join(missing)}: {install_command('train')}"
        yield _check("training", f"{text}; traces, data, atlas ask and reports don't", "problem")
    if sdk := _version("arc-atlas"):
        text = f"arc-atlas {sdk} is in this environment; its module is called atlas, too: uninstall"
        yield _check("atlas sdk", f"{text} it, and give it an environment of its own", "problem")
    if "torch" not in missing:
        yield from _devices()
    memory = psutil.virtual_memory()
    yield _check(
        "memory",
        f"{memory.available / _GB:.1f} of {memory.total / _GB:.1f} GB free",
        "ok" if memory.available > _ENOUGH_MEMORY else "note",
    )
    free = shutil.disk_usage(folder).free
    yield _check(
        "disk",
        f"{free / _GB:.0f} GB free in {folder.resolve()}",
        "ok" if free > _ENOUGH_DISK else "problem",
    )
    for name, need in _OPTIONAL.items():
        version = _version(name)
        extra = f" ({install_command(name)})" if name == "deepspeed" else ""
        text = version or f"not installed; needed for {need} only{extra}"
        yield _check(name, text, "ok" if version else "note")
    answers = hub_answers(constants.ENDPOINT)
    yield _check(
        "model hub",
        constants.ENDPOINT if answers else f"{constants.ENDPOINT} doesn't answer: folders only",
        "ok" if answers else "note",
    )


def _devices() -> Iterator[Check]:
    import torch  # noqa: PLC0415 - it may be missing, which is one of the checks

    from atlas.machine.precision import computes_bf16  # noqa: PLC0415

    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield _check(f"gpu {index}", f"{properties.name}, {properties.total_memory / _GB:.0f} GB")
    if not torch.cuda.is_available():
        yield _check("gpu", "none: everything runs on the processor", "note")
    bf16 = computes_bf16()
    yield _check(
        "bfloat16",
        "computed in hardware" if bf16 else "emulated, far slower than float32: keep float32",
        "ok" if bf16 else "note",
    )
    yield _check("threads", f"{torch.get_num_threads()} for {psutil.cpu_count()} processors")


def _check(name: str, text: str, state: State = "ok") -> Check:
    return Check(name=name, state=state, text=text)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
