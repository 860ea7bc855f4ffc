"""A model is known by what lies under its name."""

from __future__ import annotations

import json
from pathlib import Path

from atlas.models.identity import model_digest, model_digests


def test_the_digest_changes_with_any_file_and_with_the_base_of_an_adapter(tmp_path: Path) -> None:
    base, adapter, link = tmp_path / "base", tmp_path / "adapter", tmp_path / "link"
    for folder in (base, adapter):
        folder.mkdir()
    (base / "config.json").write_text("{}")
    says = {"peft_type": "LORA", "base_model_name_or_path": str(base)}
    (adapter / "adapter_config.json").write_text(json.dumps(says))
    link.symlink_to("adapter")
    first = model_digest(adapter)
    assert model_digest(link) == first
    (base / "config.json").write_text("[]")
    second = model_digest(adapter)
    (adapter / "adapter_model.safetensors").write_text("weights")
    assert len({first, second, model_digest(adapter), model_digest(base)}) == 4
    (base / "manifest.json").write_text("{}")
    known = model_digest(base)
    (base / "trainer_state.json").write_text("{}")
    assert model_digest(base) == known
    assert model_digests({"student_model": str(base), "db_url": None}) == {"student_model": known}
    assert model_digest("nobody/has-this") == ""
