"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src"
EXAMPLE = re.compile(r">>> (?!.*doctest: \+SKIP)")
MODULES = sorted(
    ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")
    for path in (SRC / "atlas").rglob("*.py")
    if EXAMPLE.search(path.read_text(encoding="utf-8"))
)


def test_there_are_examples() -> None:
    assert {"atlas.types", "atlas.session", "atlas.rewards.verifiers.answers"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0
