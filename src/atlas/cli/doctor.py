"""``atlas doctor``: what this machine has, and what is wrong with a run."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

from atlas.cli.terminal import console
from atlas.errors import AtlasError
from atlas.machine.checks import Check, machine_checks
from atlas.report.diagnosis import diagnose
from atlas.report.run_files import read_run
from atlas.rewards.sandbox.run import Limits, run_tests
from atlas.traces.embedded.server import EmbeddedPostgres
from atlas.traces.postgres.connection import connect

_MARKS = {"ok": "[green]ok[/green]     ", "note": "note   ", "problem": "[red]problem[/red]"}


def run(folder: str | None) -> None:
    """Run the command; exit code 1 where something is wrong."""
    wrong = _machine() if folder is None else _run(Path(folder))
    sys.exit(1 if wrong else 0)


def _machine() -> int:
    wrong = 0
    for check in (*machine_checks(Path.cwd()), *_started()):
        console.print(f"{_MARKS[check.state]} {check.name:<13}", end="")
        console.print(check.text, markup=False, soft_wrap=True)
        wrong += check.state == "problem"
    console.print("Something is missing." if wrong else "Nothing is in the way.")
    return wrong


def _started() -> Iterator[Check]:
    """Start what a run would start, and stop it again."""
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            EmbeddedPostgres.start(Path(folder) / "pg") as server,
            connect(server.db_url) as connection,
        ):
            row = connection.execute("SHOW server_version").fetchone()
        yield Check(name="postgresql", state="ok", text=f"{row[0] if row else ''}, embedded")
    except (AtlasError, OSError, psycopg.Error) as error:
        text = f"the embedded server doesn't start ({error}); give db_url=postgresql://…"
        yield Check(name="postgresql", state="problem", text=text)
    try:
        report = run_tests("x = 1", "assert x == 1", entry=None, limits=Limits())
        yield Check(
            name="code jail",
            state="note" if report.broken else "ok",
            text=report.broken or "holds; code that models write is run in it",
        )
    except AtlasError as error:
        yield Check(name="code jail", state="note", text=f"{error}; no python_tests verifier")


def _run(folder: Path) -> int:
    """Say what is wrong with a run, causes first."""
    files = read_run(folder)
    for problem in files.problems:
        console.print(problem, markup=False, soft_wrap=True)
    if not any(files.curves.values()):
        raise AtlasError(f"{folder} has no metrics yet; nothing can be said about it")
    wrong = len(files.problems)
    for stage, curves in files.curves.items():
        findings = diagnose(stage, curves)
        console.print(f"[bold]{stage}[/bold]: " + ("" if findings else "nothing stands out"))
        for number, finding in enumerate(findings, start=1):
            line = f"  {number}. {finding.what}\n     {finding.advice}"
            console.print(line, markup=False, soft_wrap=True)
        wrong += len(findings)
    return wrong
