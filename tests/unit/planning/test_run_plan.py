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
    """Plan for GPUs of another machine, where the configuration says how large they are."""
    return plan_run(
        config,
        num_devices=num_devices,
        on_node=num_devices,
        elsewhere=bool(config.memory_limit_gb),
    )


def test_the_small_model_fits_into_any_machine() -> None:
    plan = planned(sft("model_name_or_path=base"))
    assert plan.fits
    assert plan.device.always["weights"] == 4 * 914_560
    assert plan.setup.tokens == 2 * 2048


@pytest.mark.parametrize("num_devices", [1, 2])
def test_what_fits_at_once_has_the_defaults(num_devices: int) -> None:
    plan = planned(grpo("model_name_or_path=base", "student_model=base"), num_devices)
    engine = "plain" if num_devices == 1 else "ddp"
    assert plan.chosen == {
        "engine": engine,
        "gradient_checkpointing": False,
        "max_tokens_per_micro_batch": 16384,
    }
    assert plan.passed_over is None
    chosen = f"engine={engine} gradient_checkpointing=false max_tokens_per_micro_batch=16384"
    assert str(plan).startswith(f"plan: {chosen}, computed in float32: ")


def test_the_order_is_that_of_speed() -> None:
    """Each choice is taken once those before it have no room; SFT's is fsdp alone."""
    served = "rollout_engine=vllm", "student_server_url=[http://a:1]"
    taken: list[tuple[object, ...]] = []
    for limit in (400, 250, 110, 68, 37, 30):
        chosen = planned(grpo(f"memory_limit_gb={limit}", *served), 4).chosen
        taken.append(
            (
                chosen["engine"],
                chosen["gradient_checkpointing"],
                chosen["max_tokens_per_micro_batch"],
                "offload" in chosen,
            )
        )
    assert taken == [
        ("ddp", False, 16384, False),
        ("ddp", True, 16384, False),
        ("fsdp", True, 16384, False),
        ("fsdp", True, 8192, False),
        ("fsdp", True, 16384, True),
        ("fsdp", True, 4096, True),
    ]
    eight = planned(sft("memory_limit_gb=80"), 8).chosen
    assert eight == {"engine": "fsdp", "gradient_checkpointing": False}


def test_what_is_set_stands() -> None:
    given = ("engine=ddp", "gradient_checkpointing=false", "max_tokens_per_micro_batch=9000")
    config = grpo("memory_limit_gb=80", *given)
    plan = planned(config, 4)
    assert not plan.chosen
    assert not plan.fits
    assert plan.settled(config) == config
    assert str(plan).startswith("plan: as configured, computed in bf16: ")
    offloaded = planned(sft("memory_limit_gb=80", "offload=true"), 2)
    assert offloaded.chosen == {"gradient_checkpointing": False}
    on_cpu = planned(sft(), 1)
    assert not on_cpu.fits
    assert "offload" not in on_cpu.chosen  # which frees nothing where there is no GPU


def test_without_room_what_fits_at_all_is_taken() -> None:
    words = ["model_name_or_path=base", "gradient_checkpointing=false", "engine=plain"]
    peak = planned(sft(*words, "memory_limit_gb=99")).device.peak / 1e9
    tight = planned(sft(*words, f"memory_limit_gb={peak * 1.01}"))
    assert tight.fits
    assert not tight.has_room


def test_one_device_for_eight_billion_weights_offloads() -> None:
    config = sft("memory_limit_gb=80")
    plan = planned(config)
    assert plan.chosen["offload"] is True
    assert plan.setup.engine == "fsdp"
    assert "optimiser states" in plan.device.on_cpu
    assert plan.passed_over is not None
    first = plan.passed_over.device
    assert first.always["optimiser states"] == 8 * 8_030_261_248
    assert (plan.limit, plan.limit_is) == (80_000_000_000, "memory_limit_gb")
    assert str(plan).endswith(
        f"; engine=plain gradient_checkpointing=false would take {first.peak / 1e9:.1f}"
    )


def test_a_refusal_says_the_least_and_names_what_fits() -> None:
    config = grpo("memory_limit_gb=40")
    plan = planned(config)
    assert not plan.fits
    said = str(refusal(config, plan))
    assert said.startswith(f"{LLAMA} needs {plan.device.peak / 1e9:.1f} GB a device at least, with")
    assert ", but 40.0 GB is memory_limit_gb; it fits with rollout_engine=vllm student_se" in said


def test_the_guide_s_deepspeed_file_divides_gradients_and_offloads_states() -> None:
    plan = planned(sft("memory_limit_gb=80", "deepspeed=configs/deepspeed/zero2.json"), 8)
    assert (plan.setup.engine, plan.setup.zero_stage, plan.setup.offload) == ("deepspeed", 2, True)
    assert plan.device.update["gradients"] == 4 * 8_030_261_248 // 8
    assert "optimiser states" not in plan.device.always
    assert planned(sft("memory_limit_gb=80", "offload=true"), 2).setup.engine == "fsdp"


def test_what_is_named_would_fit_and_the_smallest_change_comes_first() -> None:
    words = ["model_name_or_path=base", "per_device_train_batch_size=64", "engine=plain"]
    set_ = [*words, "gradient_checkpointing=false"]
    limit = planned(sft(*set_, "memory_limit_gb=99")).device.peak / 1e9 - 0.1
    tight = sft(*set_, f"memory_limit_gb={limit}")
    plan = planned(tight)
    assert not plan.fits
    ways = fitting_settings(tight, plan)
    assert (
        ways
        == [
            "gradient_checkpointing=auto",
            "engine=auto",
            "per_device_train_batch_size=1 gradient_accumulation_steps=512",
        ][: len(ways)]
        or ways[0] == "gradient_checkpointing=auto"
    )
    for way in ways:
        if "devices" not in way:
            assert planned(sft(*set_, f"memory_limit_gb={limit}", *way.split())).fits


def test_the_guide_s_remedy_lowers_what_is_held() -> None:
    """``per_device_train_batch_size=1``: SFT's pass, and the rows that GRPO samples at a time."""
    two, one = (
        planned(sft(f"per_device_train_batch_size={n}", "gradient_checkpointing=false")).device
        for n in (2, 1)
    )
    assert two.update["activations"] == 2 * one.update["activations"]
    fixed = ("gradient_checkpointing=false", "max_tokens_per_micro_batch=16384")
    four, one = (planned(grpo(f"per_device_train_batch_size={n}", *fixed)).device for n in (4, 1))
    (name,) = (name for name in one.rollouts if "cache" in name)
    assert four.rollouts[name] == 4 * one.rollouts[name]
    assert four.update == one.update  # which max_tokens_per_micro_batch bounds
    small = planned(grpo(fixed[0], "max_tokens_per_micro_batch=2048")).device
    assert one.update["activations"] == 8 * small.update["activations"]


def test_of_a_deepspeed_file_the_way_out_is_to_leave_it_out() -> None:
    config = grpo("memory_limit_gb=80", "deepspeed=configs/deepspeed/zero2.json")
    plan = planned(config, 8)
    assert plan.device.update["DeepSpeed's buckets"] == 2 * 4 * 500_000_000
    assert plan.device.on_cpu["DeepSpeed's copy of its share"] == 4 * 8_030_261_248 // 8
    assert not plan.fits
    assert fitting_settings(config, plan)[0] == "deepspeed=null"


def test_grpo_holds_reference_student_and_their_caches() -> None:
    plan = planned(grpo("memory_limit_gb=80", "engine=ddp"), 2)
    assert plan.device.always["reference"] == 2 * 8_030_261_248 + 2 * 128_256 * 4096
    assert plan.device.always["student"] == 2 * 4_022_468_096
    assert plan.device.rollouts
    words = ("memory_limit_gb=80", "rollout_engine=vllm", "student_server_url=[http://a:1]")
    served = planned(grpo(*words), 4)
    assert served.chosen["engine"] == "fsdp"
    assert served.device.always["reference"] == plan.device.always["reference"] // 4
    assert served.device.rollouts.keys() == {"likelihood of the answers"}
    assert served.device.always["student"] == plan.device.always["student"]
    without = planned(grpo("memory_limit_gb=80", "beta=0"))
    assert "reference" not in without.device.always


def test_where_servers_sample_ahead_both_are_held() -> None:
    words = ("memory_limit_gb=80", "rollout_engine=vllm", "student_server_url=[http://a:1]")
    in_turn, at_once = (planned(grpo(*words, f"async_rollouts={n}"), 8).device for n in (0, 1))
    assert at_once.peak == in_turn.peak + sum(at_once.rollouts.values())


@pytest.mark.parametrize("name", ["load_in_4bit", "torch_compile"])
def test_what_cannot_be_shared_out_is_neither_planned_nor_named(name: str) -> None:
    words = ["memory_limit_gb=20", "use_peft=true", f"{name}=true"]
    with pytest.raises(AtlasError, match=f"{name}=true and an engine that shares weights out"):
        planned(grpo(*words, "engine=fsdp"), 2)
    config = grpo(*words)
    plan = planned(config)
    assert not plan.fits
    assert "fsdp" not in str(refusal(config, plan))


@pytest.mark.parametrize("num_devices", [1, 4])
def test_processes_without_gpus_share_the_machine(num_devices: int) -> None:
    plan = planned(sft("model_name_or_path=base"), num_devices)
    assert plan.limit_is.endswith("shared by 4 processes") is (num_devices == 4)
    assert plan.setup.num_devices == num_devices


def test_a_student_elsewhere_needs_no_memory_here() -> None:
    elsewhere = ("student=endpoint", "student_base_url=http://h/v1", "memory_limit_gb=40")
    there = grpo(*elsewhere)
    here, plan = planned(grpo("memory_limit_gb=40")), planned(there)
    assert "student" in here.device.always
    assert "student" not in plan.device.always
    assert "key/value cache of the student" not in plan.device.rollouts
    ways = fitting_settings(there, plan)
    assert "rollout_engine=vllm" in ways
    assert not any("student_server_url" in way for way in ways)
