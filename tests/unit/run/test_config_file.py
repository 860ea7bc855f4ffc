"""``config.yaml``: what a run was begun with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from atlas.config import GRPOConfig, QuickstartConfig, SFTConfig
from atlas.errors import AtlasError
from atlas.run.config_file import keep_config, save_config

CONFIG = SFTConfig(model_name_or_path="m", db_url="postgresql://a:secret@h/d", learning_rate=5e-7)


def test_passwords_are_neither_saved_nor_compared(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    keep_config(CONFIG, path)
    saved = path.read_text()
    assert "postgresql://a:***@h/d" in saved
    assert "secret" not in saved
    keep_config(CONFIG, path)
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def test_other_settings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    save_config(QuickstartConfig(), path)
    said = r"other settings \(grpo_beta was .*, is 0\.1; seed was 0, is 3\); give the same ones, an"
    with pytest.raises(AtlasError, match=said):
        keep_config(QuickstartConfig(seed=3, grpo_beta=0.1), path)


def test_what_decides_nothing_of_what_is_learned_can_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    save_config(QuickstartConfig(), path)
    changed = QuickstartConfig(grpo_save_steps=7, logging_steps=2)
    with pytest.raises(AtlasError, match="or --override-config to go on with these"):
        keep_config(changed, path, override=False)
    with pytest.raises(AtlasError, match="the same ones, another output_dir, or --fresh"):
        keep_config(changed, path)  # of a command that has no such option
    keep_config(changed, path, override=True)
    keep_config(changed, path)
    before = path.read_text()
    with pytest.raises(AtlasError, match="--override-config can't change seed"):
        keep_config(
            QuickstartConfig(grpo_save_steps=8, logging_steps=2, seed=3), path, override=True
        )
    assert path.read_text() == before


def test_a_run_goes_on_in_other_shares_but_in_no_other_precision_or_batch(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    base = {"output_dir": "run", "model_name_or_path": "base", "prompts_per_step": 8}
    save_config(GRPOConfig(**base, gradient_accumulation_steps=4), path)
    keep_config(
        GRPOConfig(**base, gradient_accumulation_steps=2, engine="fsdp"), path, override=True
    )
    for name, was, value in (("precision", "auto", "bf16"), ("prompts_per_step", 8, 16)):
        changed = GRPOConfig(**{**base, name: value})
        said = f"{name} was {was}, is {value}.*--override-config can't change {name}$"
        with pytest.raises(AtlasError, match=said):
            keep_config(changed, path, override=True)
    quickstart = tmp_path / "quickstart.yaml"
    save_config(QuickstartConfig(), quickstart)
    with pytest.raises(AtlasError, match="can't change sft_per_device_train_batch_size"):
        keep_config(QuickstartConfig(sft_per_device_train_batch_size=4), quickstart, override=True)


def test_a_key_that_is_left_to_the_plan_is_no_other_setting(tmp_path: Path) -> None:
    """As in a run that was begun when 16384 and false were defaults."""
    path = tmp_path / "config.yaml"
    base = {"output_dir": "run", "model_name_or_path": "base", "prompts_per_step": 8}
    then = {"gradient_checkpointing": False, "max_tokens_per_micro_batch": 16384}
    save_config(GRPOConfig(**base, **then), path)
    keep_config(GRPOConfig(**base), path)
    other = GRPOConfig(**base, **{**then, "max_tokens_per_micro_batch": 4096})
    with pytest.raises(AtlasError, match="max_tokens_per_micro_batch was 16384, is 4096"):
        keep_config(other, path, override=False)
    keep_config(other, path, override=True)


def test_a_key_that_is_younger_than_the_run_stays_at_its_default(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    save_config(CONFIG, path)
    young = ("prompts:", "chat_template_kwargs:")
    older = [line for line in path.read_text().splitlines() if not line.startswith(young)]
    path.write_text("\n".join(older))
    asked_as_then = replace(CONFIG, prompts="plain")
    keep_config(asked_as_then, path)
    with pytest.raises(AtlasError, match=r"\(chat_template_kwargs was null, is {'a': 1}\)"):
        keep_config(replace(asked_as_then, chat_template_kwargs={"a": 1}), path)
    # Which real chat models would no longer be asked by themselves.
    with pytest.raises(AtlasError, match=r"\(prompts was plain, is auto\)"):
        keep_config(CONFIG, path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty, so that nothing says"),
        (b"null", "is empty"),
        (b"- a", "must hold keys and values"),
        (b"5", "must hold keys and values"),
        (b"a: [", "line 1, column 5: "),
        (b"5: a", "line 1, column 1: a key must be text"),
        (b"\xff\xfe", "line 1: not UTF-8"),
        (b"seed: 0\nseed", "line 2, column 5: "),
    ],
)
def test_a_damaged_file_is_one_line(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(AtlasError, match=rf"config\.yaml .*{says}"):
        keep_config(CONFIG, path)
    assert path.read_bytes() == content


def test_a_folder_in_its_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").mkdir()
    with pytest.raises(AtlasError, match=r"config\.yaml can't be read as YAML: Is a directory"):
        keep_config(CONFIG, tmp_path / "config.yaml")
    with pytest.raises(AtlasError, match=r"config\.yaml can't be written"):
        save_config(CONFIG, tmp_path / "config.yaml")
