"""Lineage on disk: what was written is read again, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.run.lineage import Lineage, lineage_json, read_lineage, write_lineage
from atlas.run.run_dir import RunDir

LINEAGE = Lineage(
    source="PostgreSQL database atlas on localhost:5433",
    train=("17", "task:Größe?"),
    eval=("9",),
    num_samples={"train": 3, "eval": 1},
    filters={"min_reward": 0.8, "status_filters": ["succeeded"]},
    left_out={"no guidance": 2},
)


def test_the_file_is_as_described(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", "sft")
    write_lineage(run.path, LINEAGE)
    assert json.loads(run.lineage.read_text()) == {
        "format": "atlas.lineage/1",
        "source": "PostgreSQL database atlas on localhost:5433",
        "train": ["17", "task:Größe?"],
        "eval": ["9"],
        "num_samples": {"train": 3, "eval": 1},
        "filters": {"min_reward": 0.8, "status_filters": ["succeeded"]},
        "left_out": {"no guidance": 2},
    }


def test_it_is_read_again_from_the_folder_and_from_the_file(tmp_path: Path) -> None:
    write_lineage(tmp_path, LINEAGE)
    assert read_lineage(tmp_path) == LINEAGE
    assert read_lineage(str(tmp_path / "lineage.json")) == LINEAGE
    later = replace(LINEAGE, train=("1",))
    write_lineage(tmp_path, later)
    assert read_lineage(tmp_path) == later


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"lineage\.json isn't there; name a run directory"),
        ("{", r"lineage\.json can't be read as JSON"),
        ("[]", r"lineage\.json can't be read as JSON: expected an object, found a list"),
        ('{"format": "atlas.lineage/2"}', "has the format atlas.lineage/2"),
        ('{"format": "atlas.lineage/1"}', "lacks a part of atlas.lineage/1: source"),
        (
            lineage_json(LINEAGE).replace('"train": [', '"train": 3, "x": [', 1),
            "lacks a part of atlas.lineage/1: train",
        ),
    ],
)
def test_what_is_no_lineage_is_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "lineage.json").write_text(text)
    with pytest.raises(AtlasError, match=message) as caught:
        read_lineage(tmp_path)
    assert "\n" not in str(caught.value)
