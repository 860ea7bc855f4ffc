"""The prompts of a run stay with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.prompts import Prompts
from atlas.prompts.folder import shipped_prompts
from atlas.run.prompts_kept import check_prompts, keep_prompts, model_files, run_prompts

PLAIN, CHAT = shipped_prompts("plain"), shipped_prompts("chat")


def gone() -> Prompts:
    raise AtlasError("prompts=mine is no folder")


def test_a_run_goes_on_with_the_prompts_that_it_was_begun_with(tmp_path: Path) -> None:
    kept, said = tmp_path / "run" / "prompts", list[str]()
    assert run_prompts(kept, lambda: CHAT, say=said.append) == CHAT
    assert not kept.exists()
    keep_prompts(kept, CHAT)
    keep_prompts(kept, PLAIN)
    assert run_prompts(kept, lambda: CHAT, say=said.append) == CHAT
    assert said == []
    for choose in (lambda: PLAIN, gone):
        assert run_prompts(kept, choose, say=said.append) == CHAT
        assert f"prompts: those in {kept}" in said.pop()


def test_a_folder_that_is_gone_is_refused_by_a_new_run_alone(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="mine is no folder"):
        check_prompts(str(tmp_path / "mine"), tmp_path / "run")
    keep_prompts(tmp_path / "run" / "prompts", PLAIN)
    check_prompts(str(tmp_path / "mine"), tmp_path / "run")
    for shipped in ("auto", "plain", "chat"):
        check_prompts(shipped, tmp_path / "new")


def test_a_model_folder_gets_lineage_and_prompts(tmp_path: Path) -> None:
    assert model_files(tmp_path) == {}
    (tmp_path / "lineage.json").write_text("{}")
    keep_prompts(tmp_path / "prompts", PLAIN)
    assert model_files(tmp_path) == {"lineage.json": "{}", **PLAIN.files()}
