"""What a run was made with: versions, machine, commit. Kept in ``run.json``; imports no torch."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

import atlas

_PACKAGES: Final = (
    *("torch", "transformers", "tokenizers", "peft", "datasets", "numpy", "vllm", "deepspeed"),
    "reasoning-gym",
)
_GPUS: Final = Path("/proc/driver/nvidia/gpus")


def environment_now() -> dict[str, str]:
    """Return name -> what is there now; what can't be told is left out."""
    found = {
        "atlas": atlas.__version__,
        "commit": _commit(Path(atlas.__file__).parent),
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "system": platform.platform(),
        "processor": _processor(),
        "cores": str(psutil.cpu_count() or ""),
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "gpus": ", ".join(_gpus()),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
    }
    return {name: text for name, text in found.items() if text}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _commit(source: Path) -> str:
    """Return the commit of a checkout, and whether files differ from it; empty of a wheel."""
    git = ("git", "-C", str(source))
    try:
        head = _output(*git, "rev-parse", "--short=12", "HEAD")
        return head + (", changed" if _output(*git, "status", "--porcelain", "-uno", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _output(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=5, check=True)
    return done.stdout.strip()


def _processor() -> str:
    return _line("model name", Path("/proc/cpuinfo")) or platform.machine()


def _gpus() -> Iterator[str]:
    for file in sorted(_GPUS.glob("*/information")):
        if name := _line("Model", file):
            yield name


def _line(name: str, file: Path) -> str:
    """Return what a file of ``name: value`` lines says first; empty where it doesn't."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return ""
    found = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in found if key.strip() == name), "")
