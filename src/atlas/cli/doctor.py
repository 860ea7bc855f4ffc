"""``atlas doctor``: what this machine has, and what is wrong with a run."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.cli.options import Json, command_app
from atlas.cli.terminal import say, show_json
from atlas.errors import AtlasError

if TYPE_CHECKING:
    from atlas.machine.checks import Check

_COLOURS = {"ok": "green", "note": None, "problem": "red"}

app = command_app()


@app.command()
def doctor(
    run: Annotated[
        str | None, typer.Argument(help="A run directory; without it, this machine is looked at")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what this machine lacks, or what is wrong with a run and what to do first."""
    wrong = _machine(as_json) if run is None else _run(Path(run), as_json)
    sys.exit(1 if wrong else 0)


def _machine(as_json: bool) -> int:
    from dataclasses import asdict

    from atlas.machine.checks import machine_checks

    checks = (*machine_checks(Path.cwd()), *_started())
    if as_json:
        show_json([asdict(check) for check in checks])
        return sum(check.state == "problem" for check in checks)
    wrong = 0
    for check in checks:
        line = f" {check.name:<13}{check.text}"
        say(line, lead=f"{check.state:<7}", fg=_COLOURS[check.state])
        wrong += check.state == "problem"
    say("Something is missing." if wrong else "Nothing is in the way.")
    return wrong


def _started() -> Iterator[Check]:
    """Start what a run would start, and stop it again."""
    import psycopg

    from atlas.machine.checks import Check
    from atlas.rewards.sandbox.run import Limits, run_tests
    from atlas.traces.embedded.server import EmbeddedPostgres
    from atlas.traces.postgres.connection import connect

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


def _run(folder: Path, as_json: bool) -> int:
    """Say what is wrong with a run, causes first."""
    from dataclasses import asdict

    from atlas.report.run_files import read_run
    from atlas.run.diagnosis import diagnose
    from atlas.run.goals import goal_lines, goals_of

    files = read_run(folder)
    state, goes_on = _state(folder)
    broke = state.startswith(("died", "ended"))
    if as_json:
        stages = {
            stage: {
                "findings": [asdict(one) for one in diagnose(stage, curves, files.bounds[stage])],
                "goals": [asdict(goal) for goal in goals_of(stage, curves, files.bounds[stage])],
            }
            for stage, curves in files.curves.items()
        }
        told = {"run": str(folder), "state": state, "goes_on": goes_on}
        show_json({**told, "unreadable": files.problems, "stages": stages})
        found = sum(len(stage["findings"]) for stage in stages.values())
        return broke + len(files.problems) + found
    for problem in files.problems:
        say(problem)
    if goes_on:
        say(f": {state}; it goes on with: {goes_on}", lead="run", bold=True)
    if not any(files.curves.values()) and not broke:
        raise AtlasError(f"{folder} has no metrics yet; nothing can be said about it")
    wrong = broke + len(files.problems)
    for stage, curves in files.curves.items():
        bounds = files.bounds[stage]
        findings = diagnose(stage, curves, bounds)
        say(": " + ("" if findings else "nothing stands out"), lead=stage, bold=True)
        for number, finding in enumerate(findings, start=1):
            say(f"  {number}. {finding.what}\n     {finding.advice}")
        for line in goal_lines(goals_of(stage, curves, bounds)):
            say(f"  {line}")
        wrong += len(findings)
    return wrong


def _state(folder: Path) -> tuple[str, str]:
    """Return how far a run is, and the command that goes on with it; "" for what is no run."""
    from atlas.run.listing import listed
    from atlas.run.run_dir import RunDir

    try:
        run = listed(RunDir.open(folder))
    except AtlasError:
        return "", ""
    return run.state, run.goes_on
