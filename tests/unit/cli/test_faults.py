"""How a command ends: one line, the exit code, and what is kept of a fault of Atlas."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from atlas.cli import faults
from atlas.cli.options import command_app
from atlas.cli.terminal import working
from atlas.errors import AtlasError, OutageError, RankError
from atlas.run.run_dir import RunDir
from atlas.run.stopping import Stopped


@pytest.fixture(autouse=True)
def _own_signals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.delenv(faults.TRACEBACK, raising=False)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def ended(error: BaseException, run: RunDir | None = None) -> int | str | None:
    """Return the exit code of a command in which this happens."""
    app = command_app()

    @app.command()
    def work() -> None:
        with working("Go on.", run):
            raise error

    with pytest.raises(SystemExit) as caught:
        faults.run(app, [])
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (AtlasError("no such key"), 2, "atlas: no such key\n"),
        (OutageError("the server died"), 3, "atlas: the server died\n"),
        (RankError("rank 1: gone", 3), 3, "atlas: rank 1: gone\n"),
        (OSError(errno.ENOSPC, "No space left", "f"), 3, "atlas: f: No space left; the same "),
        (ConnectionResetError(errno.ECONNRESET, "reset"), 3, "atlas: reset; the same command"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 999), 2, "atlas: xxx"),
        (
            PermissionError(errno.EACCES, "Permission denied", "p"),
            2,
            "atlas: p: Permission denied; ",
        ),
        (OSError(errno.ELOOP, "Too many", b"l"), 2, "atlas: l: Too many; name another place"),
        (MemoryError(), 3, "atlas: the memory of this machine is used up"),
        (
            RuntimeError(
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            ),
            3,
            "atlas: the memory of this machine is used up",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            3,
            "atlas: the GPU's memory is used up (OutOfMemoryError: CUDA out of memory. Tried",
        ),
        (Stopped(), 130, ""),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_exit_codes_say_who_mends_it(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(error) == code
    err = capsys.readouterr().err
    assert err.startswith(said)
    assert err.count("\n") == bool(said)


def test_a_rank_leaves_to_the_first_what_all_meet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert faults._told(AtlasError("all meet it")) == 2
    assert faults._told(RankError("rank 1: alone", 3)) == 3
    assert capsys.readouterr().err == "atlas: rank 1: alone\n"


def test_a_fault_of_atlas_is_one_line_and_a_report_without_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["atlas", "sft", "db_url=postgresql://me:s3cret@host/db"])
    run = RunDir.create(tmp_path / "run", "sft")
    run.config.write_text("seed: 1\njudge_api_key: s3cret\n")
    assert ended(KeyError("no\x1b[31m such s3cret://u:s3cret@h"), run) == 1
    err = capsys.readouterr().err
    line = re.fullmatch(r"atlas: a fault of Atlas: KeyError: .*; crash report: (\S+)\n", err)
    assert line is not None, err
    assert "\x1b" not in err
    report = Path(line[1])
    assert report.parent == run.path
    text = report.read_text(encoding="utf-8")
    for part in ("Traceback", "test_faults.py", "seed: 1", "torch ", "atlas sft db_url="):
        assert part in text
    assert "s3cret@" not in err + text
    assert "judge_api_key: ***" in text


def test_without_a_run_the_report_lies_with_temporary_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(faults.TRACEBACK, "1")
    assert ended(ZeroDivisionError("x")) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert [path.parent for path in tmp_path.glob("crash-*.txt")] == [tmp_path]


def test_how_a_run_ended_stands_in_its_log(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", "sft")
    ended(OutageError("the server died"), run)
    ended(Stopped(), run)
    notes = run.log.read_text(encoding="utf-8").splitlines()
    assert [note.split("sft", 1)[1].strip() for note in notes] == [
        "ended: the server died",
        "stopped by SIGINT",
    ]


def test_sigterm_ends_a_command_in_order_with_143(tmp_path: Path) -> None:
    code = (
        "import sys, time, typer; from atlas.cli import faults\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "def work():\n"
        "    try:\n"
        "        print('ready', flush=True); time.sleep(60)\n"
        "    finally:\n"
        "        print('cleaned up')\n"
        "faults.run(app, [])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "cleaned up\n")


def test_a_terminal_that_knows_few_characters_gets_all_lines(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "atlas", "report", "gone-é-→"],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.decode("ascii").startswith("atlas: run directory gone-\\xe9-\\u2192 isn't")
