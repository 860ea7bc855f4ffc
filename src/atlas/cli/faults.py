"""How a command ends: the exit codes, and the last net under what nobody foresaw.

=====  ==========================================================================================
Code   Meaning
=====  ==========================================================================================
0      done
1      a check found something (doctor, selftest, lineage --check, pause), or Atlas has a fault
2      a mistake of the user: one line says what, where and what to do
3      the surroundings failed: a server, database, judge, network or disk
130    stopped by Ctrl-C, or by the doctor; 143 by SIGTERM, 129 by SIGHUP
=====  ==========================================================================================

A fault of Atlas is one line too, with the path of a crash report: the traceback, the versions, the
command line and the configuration, without secrets. It lies in the run directory, where there is
one. ``atlas --debug COMMAND`` and ``ATLAS_TRACEBACK=1`` show the traceback at once.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import typer

import atlas
from atlas.errors import AtlasError, OutageError, RankError, printable, reason_of
from atlas.installing import TRAIN, install_command

TRACEBACK = "ATLAS_TRACEBACK"
"""Where it is set, a traceback is shown before the one line."""
_FAULT = 1
_SHOWN = 300
"""Letters of a path; names end at 255."""
_OUTAGES = {
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EROFS", "EIO", "EMFILE", "ENFILE", "ENOMEM"),
        *("ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH"),
    )
}
"""Errors of the system that no code and no setting can help."""
_PLACES = {getattr(errno, name) for name in ("ENAMETOOLONG", "ELOOP", "EACCES", "EPERM", "ENOTDIR")}
"""Errors of the system about a file that was named: another name helps."""
_PACKAGES = ("torch", "transformers", "numpy", "psycopg", "vllm")


def run(command: typer.Typer, words: Sequence[str] | None = None) -> None:
    """Run the command line; ends this process with a code that says how it went."""
    # reasoning-gym brings packages whose own code warns when it is compiled, at the first import.
    warnings.simplefilter("ignore", SyntaxWarning)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # So that servers and databases that were started are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if (Path(atlas.__file__).parent / "personas").is_dir():
        complain(
            f"the Atlas SDK (arc-atlas) was installed into the same folder as Atlas, "
            f"{Path(atlas.__file__).parent}: both are called atlas, and their files have replaced "
            "one another; uninstall both, and give each an environment of its own"
        )
        sys.exit(2)
    try:
        command(words)
    except Exception as error:
        sys.exit(_told(error))


def _told(error: Exception) -> int:
    """Say in one line what went wrong, and return the exit code."""
    if os.environ.get(TRACEBACK):
        sys.stderr.write(printable(_traceback(error)))
    known = (
        error
        if isinstance(error, AtlasError)
        else _outage(error) or _misplaced(error) or _not_installed(error)
    )
    if known is None:
        from atlas.masking import mask_secrets

        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        complain(f"{_rank()}a fault of Atlas: {mask_secrets(what)}; {_kept(error)}")
        return _FAULT
    # Under torchrun all processes meet the same mistake; what only one meets is a RankError.
    if isinstance(known, RankError) or not _rank():
        complain(str(known))
    return known.exit_code


def complain(line: str) -> None:
    """Print one line about what went wrong."""
    sys.stderr.write(f"atlas: {printable(line)}\n")


def _outage(error: Exception) -> OutageError | None:
    """Return what the system did, if that is what ended a command."""
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return OutageError("the memory of this machine is used up; make what runs smaller")
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which isn't imported for it
        return OutageError(
            f"the GPU's memory is used up ({reason_of(error)}); --dry-run shows what takes it: "
            "gradient_checkpointing=true, fewer max_tokens_per_micro_batch, use_peft=true or "
            "engine=fsdp on several GPUs make it smaller"
        )
    if isinstance(error, OSError) and error.errno in _OUTAGES:
        where = f"{error.filename}: " if error.filename else ""
        return OutageError(f"{where}{error.strerror}; the same command goes on when that is mended")
    return None


def _misplaced(error: Exception) -> AtlasError | None:
    """Return what is wrong with the name of a file, if that is what ended a command."""
    if isinstance(error, OSError) and error.errno in _PLACES and error.filename:
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
        return AtlasError(f"{shown}: {error.strerror}; name another place")
    return None


def _not_installed(error: Exception) -> AtlasError | None:
    """Return what to install, where Atlas is here without what it trains with."""
    package = (getattr(error, "name", None) or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and package in TRAIN:
        return AtlasError(
            f"this needs {package}, which isn't installed, as Atlas is here without what it trains "
            f"with; run: {install_command('train')}"
        )
    return None


def _rank() -> str:
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f"rank {rank}: "


def _kept(error: Exception) -> str:
    """Write the crash report, and say where it is."""
    folder = getattr(error, "run_directory", None)
    for place in (folder, tempfile.gettempdir()):
        if place is not None:
            with contextlib.suppress(OSError):
                handle, name = tempfile.mkstemp(prefix="crash-", suffix=".txt", dir=place)
                with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(_report(error, folder))
                return f"crash report: {name}"
    return f"no crash report could be written; {TRACEBACK}=1 shows the traceback"


def _report(error: Exception, folder: Path | None) -> str:
    import platform
    import shlex
    from importlib import metadata

    from atlas import __version__
    from atlas.masking import mask_secrets

    versions = [f"atlas {__version__}", f"Python {platform.python_version()}", platform.platform()]
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{package} {metadata.version(package)}")
    parts = [
        _traceback(error),
        f"command: {' '.join(mask_secrets(shlex.quote(word)) for word in sys.argv)}",
        f"folder: {Path.cwd()}",
        f"versions: {', '.join(versions)}",
    ]
    if folder is not None:
        with contextlib.suppress(OSError):
            config = (folder / "config.yaml").read_text(encoding="utf-8", errors="replace")
            parts.append(f"{folder / 'config.yaml'}:\n{mask_secrets(config)}")
    return "\n".join([*parts, ""])


def _traceback(error: Exception) -> str:
    import traceback

    from atlas.masking import mask_secrets

    return mask_secrets("".join(traceback.format_exception(error)))
