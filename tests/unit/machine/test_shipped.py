"""Names of models that come with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.machine.shipped import SHIPPED, model_path
from atlas.models.checkpoints import is_whole


def test_the_base_model_is_there_whole_and_small() -> None:
    folder = Path(model_path("base"))
    assert is_whole(folder)
    assert (folder / "model.safetensors").stat().st_size <= 8_000_000


def test_other_names_and_folders_of_that_name_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert model_path("Qwen/Qwen3-4B-Instruct-2507") == "Qwen/Qwen3-4B-Instruct-2507"
    monkeypatch.chdir(tmp_path)
    assert model_path("base") == str(SHIPPED["base"])
    (tmp_path / "base").mkdir()
    assert model_path("base") == "base"
