"""What a run was made from is told by name where it has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.run.inputs import changed_inputs, digest, keep_inputs


def test_a_run_goes_on_with_what_it_was_begun_with_only(tmp_path: Path) -> None:
    file = tmp_path / "data.json"
    file.write_text("[1]")
    before = digest([file])
    named = {"train_data": str(file), "corpus": "texts"}
    assert changed_inputs(tmp_path, {}) is None
    keep_inputs(tmp_path, {"train_data": before}, named)
    keep_inputs(tmp_path, {"train_data": before}, named)
    file.write_text("[2]")
    assert changed_inputs(tmp_path, {"train_data": digest([file])}) == ["train_data"]
    with pytest.raises(AtlasError, match=r"^corpus \(texts\) and train_data .* changed since"):
        keep_inputs(tmp_path, {"train_data": digest([file]), "corpus": "0"}, named)
