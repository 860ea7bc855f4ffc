from __future__ import annotations

from typing import Any

import pytest

from atlas.config.ranked import RankedConfig
from atlas.data.ranked import RankedRecord
from atlas.errors import AtlasError
from atlas.from_scratch import planning
from atlas.from_scratch.planning import MemorySettings, longest_of, plan_run


def config(**settings: Any) -> RankedConfig:
    return RankedConfig(**{"memory_limit_gb": 16.0, **settings})


@pytest.fixture(params=[True, False], ids=["bf16", "emulated"])
def computes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(planning, "computes_bf16", lambda: request.param)
    return request.param


def test_the_guide_s_five_keys_fit_into_16_gb_as_they_are(computes: bool) -> None:
    """1.1B, batch 4: float32 weights and states alone are 17.6 GB."""
    plan = plan_run(config(batch_size=4), longest=640)
    assert plan.num_parameters == 1_102_345_728
    assert plan.settings.precision == "bf16_weights"
    assert plan.memory.peak <= 16e9
    assert plan.passed_over is not None
    faster, memory = plan.passed_over
    assert faster.precision == ("bf16" if computes else "float32")
    assert memory.peak > 16e9


def test_the_first_that_fits_is_chosen_in_the_order_of_speed(computes: bool) -> None:
    small = plan_run(config(model_size="nano"))
    assert small.passed_over is None
    assert small.settings == MemorySettings(
        precision="bf16" if computes else "float32",
        gradient_checkpointing=False,
        max_tokens=8192,
    )
    # Halving the pass comes before computing everything twice.
    totals = {
        most: planning.memory_of(
            config(),
            MemorySettings(precision="bf16_weights", gradient_checkpointing=False, max_tokens=most),
            0,
        ).peak
        for most in (2048, 1024)
    }
    limit = sum(totals.values()) / 2e9
    plan = plan_run(config(memory_limit_gb=limit, precision="bf16_weights"))
    assert (plan.settings.max_tokens, plan.settings.gradient_checkpointing) == (1024, False)


def test_what_the_user_set_is_never_changed() -> None:
    given = {"gradient_checkpointing": True, "max_tokens_per_micro_batch": 300}
    plan = plan_run(config(precision="bf16_weights", **given))
    assert str(plan.settings) == (
        "precision=bf16_weights gradient_checkpointing=true max_tokens_per_micro_batch=300"
    )
    with pytest.raises(AtlasError, match=r"needs \d+\.\d GB"):
        plan_run(config(precision="float32"))


def test_a_pass_is_never_larger_than_the_largest_step() -> None:
    """Four prompts of 100 tokens are 400, whatever may go through at once."""
    settings = MemorySettings(precision="float32", gradient_checkpointing=False, max_tokens=8192)
    only_ranked = {"stages": ("tokenizer", "ranked"), "batch_size": 4}
    parts = planning.memory_of(config(**only_ranked), settings, 100).update
    with_pretraining = planning.memory_of(config(batch_size=4), settings, 100).update
    one_token = planning.memory_of(config(**only_ranked | {"batch_size": 1}), settings, 1).update
    assert parts["activations"] == 400 * one_token["activations"]
    assert with_pretraining["activations"] == 4096 * one_token["activations"]


def test_the_longest_example_is_bounded_by_bytes_and_by_the_window() -> None:
    record = RankedRecord(prompt="é", responses=("ab", "c" * 90), scores=(0.0, -1.0))
    assert longest_of([record], config(max_seq_length=50)) == (2 + 3) + (2 + 1) + 50


def test_what_cannot_fit_is_refused_with_settings_that_would(computes: bool) -> None:
    with pytest.raises(AtlasError) as caught:
        plan_run(config(precision="float32", gradient_checkpointing=False))
    text = str(caught.value)
    assert text.startswith("model_size 1.1B needs ")
    assert "16.0 GB is memory_limit_gb" in text
    hint = text.partition("it fits with ")[2]
    assert "precision=bf16_weights" in hint
    taken_up = dict(word.split("=") for word in hint.split(" or ")[0].split(", "))
    assert plan_run(config(**taken_up)).memory.peak <= 16e9
    with pytest.raises(AtlasError, match=r"needs .* it fits with model_size=(350M|125M)"):
        plan_run(config(memory_limit_gb=4.0, max_tokens_per_micro_batch=512))


def test_answers_are_written_within_what_the_training_took(computes: bool) -> None:
    """400 answers of the 1.1B model at a time would take as much as everything else together."""
    guide = config(batch_size=4)
    plan = plan_run(guide, longest=640)
    rows = planning.answer_rows(guide, plan.settings, longest=640, tokens=200)
    size = 2 if computes else 4
    cache = 36 * 2 * 1536 * size * 200  # keys and values of one answer
    weights = 2 * size * plan.num_parameters
    assert 8 <= rows < 400
    assert rows * cache * 1.5 + weights <= plan.memory.peak
    assert planning.answer_rows(guide, plan.settings, longest=640, tokens=10**6) == 1
    small = config(model_size="nano")
    settings = plan_run(small).settings
    assert planning.answer_rows(small, settings, longest=640, tokens=200) == 512


def test_a_model_that_is_named_is_planned_and_not_the_size() -> None:
    plan = plan_run(config(model_name_or_path="base", stages=("tokenizer", "ranked")))
    assert plan.num_parameters == 914_560
    with pytest.raises(AtlasError, match=r"^base needs .* is memory_limit_gb$"):
        plan_run(config(model_name_or_path="base", memory_limit_gb=0.1))


def test_a_tokenizer_that_is_named_widens_the_embedding() -> None:
    assert plan_run(config(model_size="nano", tokenizer="base")).num_parameters == 914_560
    wide = config(model_size="nano", vocab_size=1000)
    assert plan_run(wide).num_parameters == 914_560 + (1000 - 480) * 128


def test_a_sequence_longer_than_the_window_is_refused() -> None:
    with pytest.raises(
        AtlasError, match="max_seq_length is 513, but the window of model_size nano is 512 tokens"
    ):
        plan_run(config(model_size="nano", max_seq_length=513))
    assert plan_run(config(model_size="small", max_seq_length=513))
    with pytest.raises(AtlasError, match="but the window of base is 512 tokens"):
        plan_run(config(model_name_or_path="base", max_seq_length=600))
