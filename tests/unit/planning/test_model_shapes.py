"""Shapes without weights: the numbers that the models' own pages give."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.unit.tiny_models import tiny_model

from atlas.config.grammar.places import find_config_dir
from atlas.errors import AtlasError
from atlas.planning.memory_plan import ModelShape
from atlas.planning.model_shapes import UnknownShapeError, known_models, shape_of_model

PUBLISHED = {
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen3-4B-Instruct-2507": 4_022_468_096,
    "smollm2": 134_515_008,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_known_models_have_the_published_number_of_parameters(name: str) -> None:
    assert shape_of_model(name).num_parameters == PUBLISHED[name]


def test_every_model_that_a_preset_names_is_known() -> None:
    folder = find_config_dir()
    named = {
        value
        for path in [*folder.glob("model/*.yaml"), *folder.glob("run/*.yaml")]
        for key, value in yaml.safe_load(path.read_text()).items()
        if key in ("model_name_or_path", "student_model")
    }
    folders = {"base", "checkpoints/sft/final"}
    assert named - folders == PUBLISHED.keys() == known_models().keys()


def test_a_folder_has_the_shape_of_the_model_in_it(tmp_path: Path) -> None:
    model = tiny_model("qwen3")
    model.save_pretrained(tmp_path)
    assert shape_of_model(str(tmp_path)) == ModelShape(
        num_parameters=model.num_parameters(),
        num_layers=2,
        hidden=32,
        intermediate=48,
        vocab=40,
        kv_width=2 * 8,
        query_width=4 * 8,
        window=64,
    )


def test_a_model_that_is_not_here_is_refused_without_asking_a_hub() -> None:
    with pytest.raises(AtlasError, match=r"the shape of 'some/model' isn't known here.*Qwen3-8B"):
        shape_of_model("some/model")


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "7",
        "[" * 100_000,
        '{"model_type": "llama", "num_attention_heads": 0}',
        '{"model_type": "llama", "hidden_size": "wide"}',
    ],
)
def test_a_configuration_that_describes_no_model_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UnknownShapeError, match=r"isn't known here: .*config\.json"):
        shape_of_model(str(tmp_path))
