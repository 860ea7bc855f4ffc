"""Which command installs an extra."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from atlas import installing


def test_a_checkout_is_named_by_its_path() -> None:
    root = Path(__file__).resolve().parents[2]
    assert installing.install_command("train") == f"pip install -e '{root}[train]'"


@pytest.mark.parametrize(
    ("record", "named"),
    [
        ('{"url": "file:///d/a.whl"}', "'atlas-teacher[cuda] @ file:///d/a.whl'"),
        ("{}", "'atlas-teacher[cuda]'"),
        (None, "'atlas-teacher[cuda]'"),
    ],
)
def test_a_package_is_named_by_where_pip_took_it(
    record: str | None, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Installed:
        def read_text(self, name: str) -> str | None:
            return record if name == "direct_url.json" else None

    monkeypatch.setattr(installing, "__file__", str(tmp_path / "lib" / "atlas" / "installing.py"))
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed())
    assert installing.install_command("cuda") == f"pip install {named}"
