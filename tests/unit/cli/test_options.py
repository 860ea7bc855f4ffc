"""Options that are written once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from atlas.cli.options import Overrides, command_app, spread


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """Two options, and a field that is none."""

    names: Annotated[list[str] | None, typer.Option("--name", help="A name")] = None
    least: Annotated[int, typer.Option(help="At least")] = 3
    internal: str = "kept"


def test_the_fields_of_a_dataclass_become_options() -> None:
    app = command_app()

    @app.command()
    @spread
    def work(filters: Filters, words: Overrides, flag: bool = False) -> None:
        typer.echo((filters, words, flag))

    ran = CliRunner().invoke(app, ["--name", "a", "--name", "b", "x=1", "--flag"])
    assert ran.output == f"{(Filters(names=['a', 'b']), ['x=1'], True)}\n"
    assert CliRunner().invoke(app, ["--least", "4"]).output == f"{(Filters(least=4), [], False)}\n"
    assert "--internal" not in CliRunner().invoke(app, ["--help"]).output


def test_a_spread_command_can_be_called_with_some_of_its_fields() -> None:
    taken = []
    spread(_take)(taken=taken, least=5)
    assert taken == [Filters(least=5)]


def _take(filters: Filters, taken: list[Filters]) -> None:
    taken.append(filters)
