from __future__ import annotations

from typing import Any

import pytest

from atlas.config import (
    GRPOConfig,
    QuickstartConfig,
    RankedConfig,
    SFTConfig,
    compose_config,
    explain,
    load_config,
    resolve,
    section,
    to_yaml,
)
from atlas.config.parts.run import RunConfig
from atlas.config.resolve import batch_lines
from atlas.errors import AtlasError


def grpo(**values: Any) -> GRPOConfig:
    return GRPOConfig(model_name_or_path="m", student_model="s", **values)


def test_prompts_per_step_follows_from_batch_accumulation_and_processes() -> None:
    config = resolve(
        grpo(per_device_train_batch_size=3, gradient_accumulation_steps=4), world_size=2
    )
    assert config.prompts_per_step == 24


def test_accumulation_follows_from_given_prompts_per_step() -> None:
    config = resolve(grpo(prompts_per_step=24, per_device_train_batch_size=3), world_size=2)
    assert (config.prompts_per_step, config.gradient_accumulation_steps) == (24, 4)


@pytest.mark.parametrize(
    ("prompts", "near"), [(25, "24 or 30"), (5, "6"), (29, "24 or 30")], ids=str
)
def test_what_does_not_divide_names_the_nearest(prompts: int, near: str) -> None:
    with pytest.raises(AtlasError, match=rf"prompts_per_step={prompts} doesn't .*: {near}$"):
        resolve(grpo(prompts_per_step=prompts, per_device_train_batch_size=3), world_size=2)


def test_a_contradiction_names_both_keys_and_the_way_out() -> None:
    words = ["model_name_or_path=m", "student_model=s", "prompts_per_step=8"]
    message = r"prompts_per_step=8 and gradient_accumulation_steps=3 contradict .*steps=8$"
    with pytest.raises(AtlasError, match=message):
        load_config(GRPOConfig, None, [*words, "gradient_accumulation_steps=3"])
    agreed = load_config(GRPOConfig, None, [*words, "gradient_accumulation_steps=8"])
    assert agreed.gradient_accumulation_steps == 8
    assert load_config(GRPOConfig, None, words).gradient_accumulation_steps == 8


def test_section_takes_prefixed_keys_then_shared_ones_then_defaults() -> None:
    whole = QuickstartConfig(seed=3, grpo_beta=0.5, max_new_tokens=17, output_dir="runs/q")
    part = section(whole, "grpo", GRPOConfig, model_name_or_path="m", student_model="s", top_p=0.9)
    assert (part.beta, part.max_new_tokens, part.seed, part.top_p) == (0.5, 17, 3, 0.9)
    assert part.epsilon_low == 0.2
    assert (part.job, part.output_dir) == ("grpo", "checkpoints/grpo")
    assert part.prompts_per_step == (
        whole.grpo_per_device_train_batch_size * whole.grpo_gradient_accumulation_steps
    )


def test_section_names_a_key_that_nobody_gives() -> None:
    with pytest.raises(AtlasError, match="grpo needs model_name_or_path"):
        section(RunConfig(output_dir="o"), "grpo", GRPOConfig, student_model="s")


def test_explain_says_where_each_value_comes_from() -> None:
    composed = compose_config(GRPOConfig, "teacher_rcl", ["seed=3"])
    rows = {row.key: row for row in explain(composed.config, composed.origins)}
    assert (rows["seed"].value, rows["seed"].origin) == ("3", "the command line")
    assert rows["student_model"].origin == "configs/run/teacher_rcl.yaml"
    assert (rows["prompts_per_step"].value, rows["prompts_per_step"].origin) == ("4", "derived")
    assert (rows["beta"].value, rows["beta"].origin) == ("0.04", "")
    assert rows["beta"].doc.startswith("Weight of the KL")


def test_yaml_keeps_small_numbers_and_lists() -> None:
    text = to_yaml(QuickstartConfig(grpo_learning_rate=5e-7, families=("chain_sum",)))
    assert "grpo_learning_rate: 5.0e-07\n" in text
    assert "families:\n- chain_sum\n" in text


def test_a_step_is_explained_with_the_guide_s_numbers() -> None:
    config = resolve(grpo(per_device_train_batch_size=1, gradient_accumulation_steps=4))
    lines = batch_lines(config)
    assert lines[0].startswith("prompts per step: 4 = per_device_train_batch_size 1 × gradient")
    assert lines[1].startswith("completions per step: 128 = 4 × num_generations 32, at most 65,536")
    config = resolve(grpo(prompts_per_step=8, per_device_train_batch_size=2, num_iterations=3))
    assert "gradient_accumulation_steps 4 × processes 1" in batch_lines(config)[0]
    assert batch_lines(config)[3] == "optimiser steps: 1,500 = max_steps 500 × num_iterations 3"


def test_a_penalty_for_length_that_begins_before_the_first_token_is_refused() -> None:
    with pytest.raises(AtlasError, match=r"overlong_buffer=65 .*max_new_tokens=64\)"):
        resolve(grpo(overlong_buffer=65, max_new_tokens=64))
    assert resolve(grpo(overlong_buffer=64, max_new_tokens=64)).overlong_buffer == 64


@pytest.mark.parametrize(
    "setting", [{"vllm_server_url": ("http://127.0.0.1:8000",)}, {"async_rollouts": 1}]
)
def test_keys_of_servers_without_servers_are_refused(setting: dict[str, Any]) -> None:
    (name,) = setting
    base = {"model_name_or_path": "base", "student_model": "base", **setting}
    with pytest.raises(AtlasError, match=rf"{name} and rollout_engine=local contradict"):
        resolve(GRPOConfig(**base))
    resolve(GRPOConfig(**base, rollout_engine="vllm"))


def test_a_model_never_takes_the_place_of_what_it_began_with() -> None:
    with pytest.raises(AtlasError, match="model_name_or_path and model_dir are both models/atlas_"):
        load_config(RankedConfig, None, ["model_size=nano", "model_name_or_path=models/atlas_nano"])
    kept = ["model_size=nano", "model_name_or_path=models/atlas_nano", "model_dir=models/b"]
    assert load_config(RankedConfig, None, kept).output_dir == "runs/atlas_nano"


def test_tasks_without_a_reference_stay_where_judges_alone_reward() -> None:
    given = {"model_name_or_path": "base", "student_model": "base", "export_path": "t.jsonl"}
    assert resolve(GRPOConfig(**given, reward="rim_offline")).keep_unverified is True
    assert resolve(GRPOConfig(**given)).keep_unverified is None
    assert resolve(GRPOConfig(**given, environment="solve")).keep_unverified is None
    own = GRPOConfig(**given, environment="m:E", allow_targets=("m:E",), keep_unverified=True)
    assert resolve(own).keep_unverified is True
    with pytest.raises(AtlasError, match="keep_unverified=true needs a reward that does without"):
        resolve(GRPOConfig(**given, keep_unverified=True))


def test_a_judges_bound_is_a_number() -> None:
    with pytest.raises(AtlasError, match=r"min_judge\.process must be a number"):
        resolve(SFTConfig(model_name_or_path="base", min_judge={"process": "high"}))
