"""The claims of a run as a table in the terminal."""

from __future__ import annotations

from rich.table import Table

from atlas.cli.terminal import console
from atlas.json_file import read_json
from atlas.report import claims_header, claims_rows
from atlas.run.run_dir import RunDir


def show_claims(run_dir: RunDir) -> None:
    """Print what a finished evaluation says."""
    claims = read_json(run_dir.claims)
    table = Table(title=f"Measured on {claims['num_tasks']} held-out tasks")
    for column in claims_header(claims):
        table.add_column(column)
    for row in claims_rows(claims):
        table.add_row(*row)
    console.print(table)
