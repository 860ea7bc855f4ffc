"""The claims of a run as a table in the terminal."""

from __future__ import annotations

from atlas.cli.terminal import show_table
from atlas.json_file import read_json
from atlas.run.run_dir import RunDir


def show_claims(run_dir: RunDir) -> None:
    """Print what a finished evaluation says."""
    from atlas.report import claims_header, claims_rows

    claims = read_json(run_dir.claims)
    title = f"Measured on {claims['num_tasks']} held-out tasks"
    show_table(title, claims_header(claims), claims_rows(claims))
