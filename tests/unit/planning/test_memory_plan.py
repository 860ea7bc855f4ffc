"""What a device holds, by who holds what: worked numbers."""

from __future__ import annotations

from typing import Any

import pytest

from atlas.planning.memory_plan import (
    DevicePlan,
    ModelShape,
    Precision,
    Rollouts,
    Setup,
    plan_device,
)

SHAPE = ModelShape(
    num_parameters=1_000_000, num_layers=10, hidden=100, intermediate=300, vocab=1000, kv_width=50
)


def setup(**changes: Any) -> Setup:
    return Setup(shape=SHAPE, tokens=64, **changes)


def bytes_a_parameter(plan: DevicePlan) -> tuple[float, float, float]:
    """Weights, gradients and optimiser states, where they are on the device."""
    parts = {**plan.always, **plan.update}
    names = ("weights", "gradients", "optimiser states")
    weights, gradients, states = (parts.get(name, 0) / SHAPE.num_parameters for name in names)
    return weights, gradients, states


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (4, 4, 8)),
        ({"engine": "ddp", "num_devices": 4}, (4, 4, 8)),
        ({"engine": "fsdp", "num_devices": 4}, (1, 1, 2)),
        ({"engine": "fsdp", "num_devices": 4, "offload": True}, (0, 0, 0)),
        ({"engine": "deepspeed", "zero_stage": 1, "num_devices": 4}, (4, 4, 2)),
        ({"engine": "deepspeed", "zero_stage": 2, "num_devices": 4}, (4, 1, 2)),
        ({"engine": "deepspeed", "zero_stage": 2, "num_devices": 4, "offload": True}, (4, 1, 0)),
        ({"engine": "deepspeed", "zero_stage": 3, "num_devices": 4}, (1, 1, 2)),
    ],
)
def test_weights_gradients_and_states_are_divided_as_the_engine_divides_them(
    changes: dict[str, Any], expected: tuple[float, float, float]
) -> None:
    assert bytes_a_parameter(plan_device(setup(**changes))) == expected


def test_what_is_offloaded_is_counted_in_cpu_memory() -> None:
    plan = plan_device(setup(engine="fsdp", num_devices=2, offload=True))
    assert plan.on_cpu == {
        "optimiser states": 4_000_000,
        "weights": 2_000_000,
        "gradients": 2_000_000,
        "whole copy of the weights": 2_000_000,
    }
    assert "weights" not in plan_device(setup(engine="deepspeed", offload=True)).on_cpu


def test_an_adapter_is_trained_and_the_rest_is_frozen() -> None:
    """Rank 2: q and o 2·(100+100) each, k and v 2·(100+50), three of 2·(100+300), ten layers."""
    adapter = 10 * 2 * (2 * 200 + 2 * 150 + 3 * 400)
    whole = setup(lora_rank=2)
    assert whole.trained == adapter == 38_000
    plan = plan_device(whole, reference=True)
    assert plan.always["weights"] == 4 * SHAPE.num_parameters + 4 * adapter
    assert plan.always["optimiser states"] == 8 * adapter
    assert "reference" not in plan.always  # the model without its adapter
    four_bits = plan_device(setup(lora_rank=2, four_bits=True, precision="bf16"))
    assert four_bits.always["weights"] == int(0.56 * SHAPE.num_parameters) + 4 * adapter


def test_reference_and_student_are_whole_on_every_device() -> None:
    """In bf16 all of the student is halved, and of the reference what isn't its embedding."""
    plan = plan_device(setup(), reference=True, student=SHAPE)
    assert plan.always["reference"] == plan.always["student"] == 4 * SHAPE.num_parameters
    half = plan_device(setup(precision="bf16"), reference=True, student=SHAPE)
    assert half.always["student"] == 2 * SHAPE.num_parameters
    assert half.always["reference"] == 2 * SHAPE.num_parameters + 2 * 1000 * 100


@pytest.mark.parametrize("stage", [0, 3])
def test_where_weights_are_divided_a_whole_copy_is_held_by_whoever_samples_or_saves(
    stage: int,
) -> None:
    engine = "deepspeed" if stage else "fsdp"
    divided = setup(engine=engine, zero_stage=stage, num_devices=4)
    name = "whole copy of the weights"
    assert plan_device(divided, whole=True).always[name] == 4 * SHAPE.num_parameters
    served = plan_device(divided)
    assert name not in served.always
    assert served.on_cpu[name] == SHAPE.num_parameters
    plain = plan_device(setup(), whole=True)
    assert name not in {**plain.always, **plain.on_cpu}


def test_update_and_rollouts_take_turns_and_so_do_teacher_and_student() -> None:
    """The larger cache counts: keys and values of 4 rows of 20 tokens, 10 layers, 50 wide."""
    caches = {
        "teacher": Rollouts(shape=SHAPE, rows=4, tokens=10),
        "student": Rollouts(shape=SHAPE, rows=4, tokens=20),
    }
    plan = plan_device(setup(), rollouts=caches)
    assert plan.rollouts == {"student": 2 * 10 * 50 * 4 * 4 * 20}
    assert plan.peak == sum(plan.always.values()) + sum(plan.update.values())
    teacher = Rollouts(shape=SHAPE, rows=4, tokens=10, copied=True)
    assert plan_device(setup(precision="bf16"), rollouts={"teacher": teacher}).rollouts == {
        "teacher": 2 * 10 * 50 * 2 * 4 * 10,
        "bf16 copy to sample from": 2 * SHAPE.num_parameters,
    }
    many = plan_device(setup(), rollouts={"teacher": Rollouts(shape=SHAPE, rows=999, tokens=99)})
    assert many.peak == sum(many.always.values()) + many.rollouts["teacher"]


def test_layers_are_gathered_where_weights_are_divided() -> None:
    """Two layers, embedding and head; gradients of these two and of a layer, which is added up."""
    plan = plan_device(setup(engine="fsdp", num_devices=2))
    layer, ends = (1_000_000 - 100_000) // 10, 200_000
    assert plan.update["gathered layers"] == 4 * (2 * layer + ends) + 4 * ends + 8 * layer
    half = plan_device(setup(engine="fsdp", num_devices=2, precision="bf16"))
    assert half.update["gathered layers"] == 2 * (2 * layer + ends) + 2 * ends + 6 * layer
    assert "bf16 copies of the weights" not in half.update
    assert "gathered layers" not in plan_device(setup(engine="ddp", num_devices=2)).update
    adapter = plan_device(setup(engine="fsdp", num_devices=2, lora_rank=2))
    assert adapter.update["gathered layers"] == 4 * (2 * layer + ends)


def test_a_reference_is_divided_as_fsdp_divides_the_policy() -> None:
    whole = plan_device(setup(engine="ddp", num_devices=4), reference=True).always["reference"]
    divided = plan_device(setup(engine="fsdp", num_devices=4), reference=True)
    assert divided.always["reference"] == whole // 4


def test_keys_are_repeated_in_every_layer_that_is_kept() -> None:
    """100 wide, 10 layers, 300 tokens: keys and values in float32."""
    wide = plan_device(setup(on_gpu=True, repeated=300)).update["repeated keys"]
    assert wide == 2 * 10 * 100 * 300 * 4
    again = plan_device(setup(on_gpu=True, repeated=300, gradient_checkpointing=True))
    assert again.update["repeated keys"] == wide // 10
    assert "repeated keys" not in plan_device(setup()).update


def test_deepspeed_holds_a_copy_of_its_share_and_two_buckets() -> None:
    plan = plan_device(setup(engine="deepspeed", zero_stage=2, num_devices=4))
    assert plan.always["DeepSpeed's copy of its share"] == 1_000_000
    assert plan.update["DeepSpeed's buckets"] == 8_000_000  # of a small model all of it


def test_a_pass_that_scores_holds_one_layer_and_a_chunk_of_logits() -> None:
    scored = {"answers": Rollouts(shape=SHAPE, rows=0, tokens=0, scored=64)}
    assert plan_device(setup(), rollouts=scored).rollouts == {
        "answers": 64 * (4 * 100 + 3 * 300) * 4 + 8 * 64 * 1000
    }


GUIDE = ModelShape(
    num_parameters=1_102_345_728, num_layers=36, hidden=1536, intermediate=4096, vocab=54_048
)


def guide_plan(
    precision: Precision, *, checkpointing: bool = True, tokens: int = 512
) -> DevicePlan:
    return plan_device(
        Setup(shape=GUIDE, tokens=tokens, precision=precision, gradient_checkpointing=checkpointing)
    )


def test_weights_in_bfloat16_halve_gradients_and_states_too() -> None:
    """16 bytes a parameter in float32 (the 17.6 GB that don't fit into 16), 8 in bfloat16."""
    for precision, expected in (("float32", 16), ("bf16_weights", 8)):
        plan = guide_plan(precision)
        parts = {**plan.always, **plan.update}
        names = ("weights", "gradients", "optimiser states")
        assert sum(parts[name] for name in names) == expected * GUIDE.num_parameters


def test_the_guide_s_model_fits_into_16_gb_with_bfloat16_weights_only() -> None:
    assert guide_plan("bf16_weights").peak < 16e9
    assert guide_plan("bf16").peak > 16e9


def test_checkpointing_keeps_one_layer_and_the_borders_of_the_others() -> None:
    kept = guide_plan("float32").update["activations"]
    full = guide_plan("float32", checkpointing=False).update["activations"]
    layer = full // GUIDE.num_layers
    assert kept == layer + 512 * GUIDE.hidden * 4 * GUIDE.num_layers


def test_activations_grow_with_the_tokens() -> None:
    one, two = (guide_plan("float32", tokens=n).update["activations"] for n in (512, 1024))
    assert two == 2 * one
