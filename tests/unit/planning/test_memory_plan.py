from __future__ import annotations

from atlas.planning.memory_plan import ModelShape, Workload, plan_training

SHAPE = ModelShape(
    num_parameters=1_102_345_728, num_layers=36, hidden=1536, intermediate=4096, vocab=54_048
)


def work(precision: str, *, checkpointing: bool = True, tokens: int = 512) -> Workload:
    return Workload(
        precision=precision,  # pyright: ignore[reportArgumentType]
        gradient_checkpointing=checkpointing,
        tokens=tokens,
    )


def test_states_are_counted_by_precision() -> None:
    """16 bytes a parameter in float32 (the 17.6 GB that don't fit into 16), 8 in bfloat16."""
    exact, rounded = (plan_training(SHAPE, work(p)).parts for p in ("float32", "bf16_weights"))
    names = ("weights", "gradients", "optimiser states")
    assert sum(exact[name] for name in names) == 16 * SHAPE.num_parameters
    assert sum(rounded[name] for name in names) == 8 * SHAPE.num_parameters


def test_the_guide_s_model_fits_into_16_gb_with_bfloat16_weights_only() -> None:
    assert plan_training(SHAPE, work("bf16_weights")).total < 16e9
    assert plan_training(SHAPE, work("bf16")).total > 16e9


def test_checkpointing_keeps_one_layer_and_the_borders_of_the_others() -> None:
    kept = plan_training(SHAPE, work("float32")).parts["activations"]
    full = plan_training(SHAPE, work("float32", checkpointing=False)).parts["activations"]
    layer = full // SHAPE.num_layers
    assert kept == layer + 512 * SHAPE.hidden * 4 * SHAPE.num_layers


def test_activations_grow_with_the_tokens() -> None:
    one, two = (plan_training(SHAPE, work("float32", tokens=n)).parts for n in (512, 1024))
    assert two["activations"] == 2 * one["activations"]
