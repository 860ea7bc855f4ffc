from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atlas.config.parts.engine import read_deepspeed_file
from atlas.errors import AtlasError
from atlas.parallel.engine.deepspeed_settings import RunSettings, deepspeed_settings

CONFIGS = Path(__file__).resolve().parents[4] / "configs" / "deepspeed"
OURS = RunSettings(
    precision="auto",
    max_grad_norm=1.0,
    per_device_train_batch_size=2,
    gradient_accumulation_steps=8,
    num_processes=4,
    offload=False,
)
GUIDE: dict[str, Any] = {
    "zero_optimization": {
        "stage": 2,
        "offload_optimizer": {"device": "cpu"},
        "overlap_comm": True,
    },
    "fp16": {"enabled": True},
    "gradient_clipping": 1.0,
}


def test_the_guides_file_works_and_says_what_is_done_in_another_way() -> None:
    settings, notes = deepspeed_settings(GUIDE, OURS, path="zero2.json")
    assert settings["zero_optimization"] == GUIDE["zero_optimization"]
    assert settings["gradient_clipping"] == 1.0
    assert "fp16" not in settings
    assert len(notes) == 1
    assert notes[0].startswith("zero2.json: fp16 is left to Atlas")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.name)
def test_the_shipped_files_take_any_clipping(path: Path) -> None:
    keys = RunSettings(
        precision="auto",
        max_grad_norm=0.3,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        num_processes=1,
        offload=True,
    )
    settings, notes = deepspeed_settings(read_deepspeed_file(str(path)), keys, path=path.name)
    assert settings["gradient_clipping"] == 0.3
    assert settings["zero_optimization"]["stage"] == int(path.stem[-1])
    assert not notes


def test_offload_counts_where_the_file_says_nothing_of_it() -> None:
    keys = RunSettings(
        precision="auto",
        max_grad_norm=1.0,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=8,
        num_processes=4,
        offload=True,
    )
    settings, _ = deepspeed_settings({"zero_optimization": {"stage": 1}}, keys, path="a.json")
    assert settings["zero_optimization"]["offload_optimizer"] == {"device": "cpu"}


@pytest.mark.parametrize(
    ("key", "value", "ours"),
    [
        ("gradient_clipping", 0.5, "max_grad_norm=1.0"),
        ("train_micro_batch_size_per_gpu", 1, "per_device_train_batch_size=2"),
        ("gradient_accumulation_steps", 4, "gradient_accumulation_steps=8"),
        ("train_batch_size", 32, "the examples of a step=64"),
    ],
)
def test_a_file_that_says_something_else_is_refused(key: str, value: Any, ours: str) -> None:
    zero = {"zero_optimization": {"stage": 2}}
    with pytest.raises(AtlasError, match=f"a.json says {key}={value}, but {ours}"):
        deepspeed_settings({**zero, key: value}, OURS, path="a.json")
    deepspeed_settings({**zero, key: "auto"}, OURS, path="a.json")


@pytest.mark.parametrize("section", ["optimizer", "scheduler"])
def test_optimiser_and_schedule_are_not_the_files(section: str) -> None:
    with pytest.raises(AtlasError, match=f"a.json has a section {section}"):
        deepspeed_settings({**GUIDE, section: {}}, OURS, path="a.json")


def test_a_file_without_zero_is_refused() -> None:
    with pytest.raises(AtlasError, match="must say stage 1, 2 or 3"):
        deepspeed_settings({"gradient_clipping": 1.0}, OURS, path="a.json")


@pytest.mark.parametrize("section", ["zero_optimization", "fp16", "bf16"])
@pytest.mark.parametrize("value", [True, 2, "2", [2]])
def test_a_section_that_is_none_is_named(section: str, value: object) -> None:
    with pytest.raises(AtlasError, match=f"a.json: {section} must be an object"):
        deepspeed_settings({**GUIDE, section: value}, OURS, path="a.json")


@pytest.mark.parametrize(
    ("section", "precision", "message"),
    [
        ({"fp16": {"enabled": True}}, "bf16", "enables fp16, but precision=bf16"),
        ({"bf16": {"enabled": True}}, "float32", "enables bf16, but precision=float32"),
        (
            {"fp16": {"enabled": True}, "bf16": {"enabled": True}},
            "auto",
            "enables fp16 and bf16 at once",
        ),
    ],
)
def test_two_precisions_are_refused(section: dict[str, Any], precision: str, message: str) -> None:
    content = {"zero_optimization": {"stage": 2}, **section}
    with pytest.raises(AtlasError, match=message):
        deepspeed_settings(content, replace(OURS, precision=precision), path="a.json")
    agreeing = {"zero_optimization": {"stage": 2}, "bf16": {"enabled": True}}
    deepspeed_settings(agreeing, replace(OURS, precision="bf16"), path="a.json")
