"""What a training writes, by hand and held against a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.tiny_models import tiny_renderer

from atlas.config import GRPOConfig, SFTConfig
from atlas.config.resolve import resolve
from atlas.models.checkpoints import save_model
from atlas.planning.disk_plan import disk_plan
from atlas.planning.memory_plan import ModelShape

SHAPE = ModelShape(num_parameters=1000, num_layers=2, hidden=8, intermediate=16, vocab=50)


def sft(**given: Any) -> dict[str, int]:
    return dict(disk_plan(SFTConfig(model_name_or_path="m", **given), SHAPE))


def test_the_warm_up_by_hand() -> None:
    plan = sft()
    assert plan["final/"] == 2 * 4000  # safetensors, and the guide's name
    assert plan["checkpoints/"] == 3 * 4000  # weights and two moments, of the last step
    assert plan["checkpoints/best"] == 4000
    assert sft(results_dir=None)["final/"] == 4000
    assert sft(save_steps=5, save_total_limit=2)["checkpoints/"] == 3 * 3 * 4000
    assert "checkpoints/best" not in sft(load_best_model_at_end=False)
    adapter = sft(use_peft=True, lora_r=1)
    # q, o: 8 + 8 each; k, v: 8 + 0 each; three of the gated layer: 8 + 16; of two layers.
    assert adapter["checkpoints/"] == 3 * 4 * 2 * (2 * 16 + 2 * 8 + 3 * 24)
    assert adapter["final/"] == 2 * 4000


def test_rollouts_by_hand() -> None:
    config = resolve(
        GRPOConfig(
            model_name_or_path="m",
            student_model="s",
            max_steps=10,
            prompts_per_step=4,
            num_generations=8,
            max_new_tokens=100,
            student_max_new_tokens=50,
        )
    )
    assert disk_plan(config, SHAPE)["rollouts/"] == 10 * 4 * 8 * (150 * 2 + 100 * 10)


@pytest.mark.parametrize("with_bin", [False, True])
def test_a_model_folder_takes_what_was_planned(tmp_path: Path, model: Any, with_bin: bool) -> None:
    parameters = model.num_parameters()
    shape = ModelShape(num_parameters=parameters, num_layers=1, hidden=8, intermediate=16, vocab=50)
    save_model(tmp_path / "final", model, tiny_renderer().tokenizer, with_bin=with_bin)
    names = ("model.safetensors", "pytorch_model.bin")
    files = [tmp_path / "final" / name for name in names]
    written = sum(file.stat().st_size for file in files if file.exists())
    config = SFTConfig(model_name_or_path="m", results_dir="results" if with_bin else None)
    assert written == pytest.approx(disk_plan(config, shape)["final/"], rel=0.2)
