"""Configurations to plans, and to the settings that would make them fit."""

from __future__ import annotations

from typing import Any

import pytest

from atlas.config import GRPOConfig, SFTConfig, load_config
from atlas.errors import AtlasError
from atlas.planning.run_plan import RunPlan, fitting_settings, plan_run, refusal

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def sft(*words: str) -> SFTConfig:
    return load_config(SFTConfig, "teacher_sft", words)


def grpo(*words: str) -> GRPOConfig:
    return load_config(GRPOConfig, "teacher_rcl", [f"model_name_or_path={LLAMA}", *words])


def planned(config: Any, num_devices: int = 1) -> RunPlan:
    return plan_run(config, num_devices=num_devices, on_node=num_devices)


def test_the_small_model_fits_into_any_machine() -> None:
    plan = planned(sft("model_name_or_path=base"))
    assert plan.fits
    assert plan.device.always["weights"] == 4 * 914_560
    assert plan.setup.tokens == 2 * 2048


def test_eight_billion_weights_in_full_do_not_fit_into_one_gpu() -> None:
    plan = planned(sft("memory_limit_gb=80"))
    assert not plan.fits
    assert plan.device.always["optimiser states"] == 8 * 8_030_261_248
    assert (plan.limit, plan.limit_is) == (80_000_000_000, "memory_limit_gb")
    said = str(refusal(sft("memory_limit_gb=80"), plan))
    assert said.startswith(f"{LLAMA} needs ")
    assert " GB a device, but 80.0 GB is memory_limit_gb; it fits with " in said
    assert "use_peft=true" in said
    assert " devices with engine=fsdp and gradient_checkpointing=true" in said


def test_the_guide_s_deepspeed_file_divides_gradients_and_offloads_states() -> None:
    plan = planned(sft("memory_limit_gb=80", "deepspeed=configs/deepspeed/zero2.json"), 8)
    assert (plan.setup.engine, plan.setup.zero_stage, plan.setup.offload) == ("deepspeed", 2, True)
    assert plan.device.update["gradients"] == 4 * 8_030_261_248 // 8
    assert "optimiser states" not in plan.device.always
    assert planned(sft("memory_limit_gb=80", "offload=true"), 2).setup.engine == "fsdp"


def test_what_is_named_would_fit_and_the_smallest_change_comes_first() -> None:
    words = ["model_name_or_path=base", "per_device_train_batch_size=64"]
    limit = planned(sft(*words, "memory_limit_gb=99")).device.peak / 1e9 - 0.1
    tight = sft(*words, f"memory_limit_gb={limit}")
    plan = planned(tight)
    assert not plan.fits
    ways = fitting_settings(tight, plan)
    assert ways[:2] == ["gradient_checkpointing=true", "per_device_train_batch_size=1"]
    for way in ways[:2]:
        assert planned(sft(*words, f"memory_limit_gb={limit}", *way.split())).fits


def test_the_guide_s_remedy_lowers_what_is_held() -> None:
    """``per_device_train_batch_size=1``: SFT's pass, and the rows that GRPO samples at a time."""
    two, one = (planned(sft(f"per_device_train_batch_size={n}")).device for n in (2, 1))
    assert two.update["activations"] == 2 * one.update["activations"]
    four, one = (planned(grpo(f"per_device_train_batch_size={n}")).device for n in (4, 1))
    (name,) = (name for name in one.rollouts if "cache" in name)
    assert four.rollouts[name] == 4 * one.rollouts[name]
    assert four.update == one.update  # which max_tokens_per_micro_batch bounds
    small = planned(grpo("max_tokens_per_micro_batch=2048")).device
    assert one.update["activations"] == 8 * small.update["activations"]


def test_a_refusal_begins_with_sharing_among_the_devices_that_are_there() -> None:
    config = sft("memory_limit_gb=80")
    assert fitting_settings(config, planned(config, 8))[0] == "engine=fsdp"
    four = fitting_settings(config, planned(config, 4))
    assert four[0] == "engine=fsdp gradient_checkpointing=true"
    alone = fitting_settings(config, planned(config, 1))
    assert not any(way.startswith("engine=fsdp") for way in alone)


def test_one_device_for_grpo_of_eight_billion_wants_an_adapter_and_servers() -> None:
    config = grpo("memory_limit_gb=40")
    ways = fitting_settings(config, planned(config))
    served = "rollout_engine=vllm student_server_url=http://HOST:8001"
    assert any("use_peft=true" in way and served in way for way in ways), ways


def test_grpo_holds_reference_student_and_their_caches() -> None:
    plan = planned(grpo("memory_limit_gb=80"))
    assert plan.device.always["reference"] == 2 * 8_030_261_248 + 2 * 128_256 * 4096
    assert plan.device.always["student"] == 2 * 4_022_468_096
    assert plan.device.rollouts
    assert plan.setup.tokens == 16384
    served = planned(
        grpo("memory_limit_gb=80", "rollout_engine=vllm", "student_server_url=[http://a:1]")
    )
    assert not served.device.rollouts
    assert served.device.always["student"] == plan.device.always["student"]
    without = planned(grpo("memory_limit_gb=80", "beta=0"))
    assert "reference" not in without.device.always


def test_eight_gpus_hold_eight_billion_weights_in_full_once_rollouts_are_served() -> None:
    config = grpo("memory_limit_gb=80")
    plan = planned(config, 8)
    assert not plan.fits
    served = "engine=fsdp rollout_engine=vllm student_server_url=http://HOST:8001"
    assert any(way.endswith(served) for way in fitting_settings(config, plan))


@pytest.mark.parametrize("name", ["load_in_4bit", "torch_compile"])
def test_what_cannot_be_shared_out_is_neither_planned_nor_named(name: str) -> None:
    words = ["memory_limit_gb=20", "use_peft=true", f"{name}=true"]
    with pytest.raises(AtlasError, match=f"{name}=true and an engine that shares weights out"):
        planned(grpo(*words, "engine=fsdp"), 2)
    config = grpo(*words)
    plan = planned(config)
    assert not plan.fits
    assert not any("fsdp" in way for way in fitting_settings(config, plan))


@pytest.mark.parametrize("num_devices", [1, 4])
def test_processes_without_gpus_share_the_machine(num_devices: int) -> None:
    plan = planned(sft("model_name_or_path=base"), num_devices)
    assert plan.limit_is.endswith("shared by 4 processes") is (num_devices == 4)
    assert plan.setup.num_devices == num_devices


def test_a_student_elsewhere_needs_no_memory_here() -> None:
    elsewhere = ("student=endpoint", "student_base_url=http://h/v1", "memory_limit_gb=80")
    there = grpo(*elsewhere)
    here, plan = planned(grpo("memory_limit_gb=80")), planned(there)
    assert "student" in here.device.always
    assert "student" not in plan.device.always
    assert "key/value cache of the student" not in plan.device.rollouts
    ways = fitting_settings(there, plan)
    assert ways
    assert not any("student_server_url" in way for way in ways)
