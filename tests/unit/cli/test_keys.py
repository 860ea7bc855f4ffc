"""Keys are listed for people and for programs."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from atlas.cli.app import app
from atlas.cli.terminal import console
from atlas.config import GRPOConfig
from atlas.config.grammar.schema import keys_of


def test_keys_are_listed_with_defaults_and_found_by_a_word() -> None:
    every = json.loads(CliRunner().invoke(app, ["keys", "grpo", "--json"]).output)
    assert [one["key"] for one in every] == [*keys_of(GRPOConfig)]
    assert {one["key"]: one["default"] for one in every}["beta"] == 0.04
    console.cache_clear()  # its width is that of the first command that drew something
    said = CliRunner().invoke(app, ["keys", "grpo", "beta"], env={"COLUMNS": "60"}).output
    console.cache_clear()
    assert "beta  0.04\n" in said
    assert "num_generations" not in said
    assert max(map(len, said.splitlines())) <= 60
    refused = CliRunner().invoke(app, ["keys", "gpro"])
    assert "did you mean 'grpo'" in str(refused.exception)
