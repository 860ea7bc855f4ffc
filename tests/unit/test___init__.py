"""The public names: each is there, the light ones load nothing heavy, the page lists them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import atlas

HEAVY = {"ControlClient", "Dialogue", "Samples", "TraceDataset", "give_lesson"}
HEAVY |= {"load_actor", "load_student"}
"""Names that compute with models, or name what does: they may load torch."""


@pytest.mark.parametrize("names", [sorted(atlas.PUBLIC.keys() - HEAVY), sorted(HEAVY)])
def test_every_name_can_be_imported_and_light_ones_load_no_torch(names: list[str]) -> None:
    code = f"import sys\nfrom atlas import {', '.join(names)}\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{names == sorted(HEAVY)}\n"), done.stderr


def test_the_package_itself_loads_nothing() -> None:
    code = "import sys, atlas; print([m for m in sys.modules if m.startswith('atlas.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_type_checkers_see_the_names_that_there_are() -> None:
    tree = ast.parse(Path(atlas.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("atlas")
        for alias in node.names
    }
    assert seen == atlas.PUBLIC
    assert set(atlas.__all__) == atlas.PUBLIC.keys()
    assert set(atlas.__all__) <= set(dir(atlas))


def test_a_name_that_is_not_there_is_named() -> None:
    with pytest.raises(AttributeError, match="module 'atlas' has no attribute 'give_lessons'"):
        atlas.give_lessons  # noqa: B018
