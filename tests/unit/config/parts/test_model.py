"""Keys of an adapter, where there is one and where there is none."""

from __future__ import annotations

import pytest

from atlas.config import SFTConfig, load_config
from atlas.errors import AtlasError

WORDS = ["model_name_or_path=m", "export_path=t.jsonl"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("lora_r=8", "lora_r is read with use_peft=true only"),
        ("lora_target_modules=[q_proj]", "lora_target_modules is read with use_peft=true only"),
        ("load_in_4bit=true", "load_in_4bit=true needs use_peft=true"),
    ],
)
def test_an_adapter_that_is_not_trained_has_no_settings(word: str, message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        load_config(SFTConfig, None, [*WORDS, word])
    load_config(SFTConfig, None, [*WORDS, word, "use_peft=true"])


def test_the_names_of_layers_are_a_list() -> None:
    config = load_config(
        SFTConfig, None, [*WORDS, "use_peft=true", "lora_target_modules=[q_proj,v_proj]"]
    )
    assert config.lora_target_modules == ("q_proj", "v_proj")
    assert load_config(SFTConfig, None, WORDS).lora_target_modules is None


@pytest.mark.parametrize("word", ["lora_r=0", "lora_dropout=1", "attn_implementation=fast"])
def test_values_that_make_no_sense_are_refused(word: str) -> None:
    with pytest.raises(AtlasError, match=word.split("=")[0]):
        load_config(SFTConfig, None, [*WORDS, "use_peft=true", word])
