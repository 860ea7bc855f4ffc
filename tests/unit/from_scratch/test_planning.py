from __future__ import annotations

import pytest

from atlas.config.ranked import RankedConfig
from atlas.errors import AtlasError
from atlas.from_scratch import planning
from atlas.from_scratch.planning import plan_run


def config(**settings: object) -> RankedConfig:
    return RankedConfig(**{"memory_limit_gb": 16.0, **settings})  # pyright: ignore[reportArgumentType]


def test_the_first_precision_that_fits_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "computes_bf16", lambda: True)
    assert plan_run(config(model_size="nano")).precision == "bf16"
    lean = config(max_tokens_per_micro_batch=512, gradient_checkpointing=True)
    plan = plan_run(lean)
    assert plan.precision == "bf16_weights"
    assert plan.num_parameters == 1_102_345_728
    monkeypatch.setattr(planning, "computes_bf16", lambda: False)
    assert plan_run(config(model_size="nano")).precision == "float32"


def test_what_cannot_fit_is_refused_with_settings_that_would() -> None:
    with pytest.raises(AtlasError) as caught:
        plan_run(config(precision="float32"))
    text = str(caught.value)
    assert text.startswith("model_size 1.1B needs ")
    assert "16.0 GB is memory_limit_gb" in text
    hint = text.partition("it fits with ")[2]
    assert "precision=bf16_weights" in hint
    assert "model_size=125M" in hint


def test_every_setting_that_is_proposed_fits() -> None:
    """The proposals are made by the same arithmetic; here they are taken up."""
    words = "gradient_checkpointing=True max_tokens_per_micro_batch=1024 precision=bf16_weights"
    settings = dict(word.split("=") for word in words.split())
    settings["gradient_checkpointing"] = True  # pyright: ignore[reportArgumentType]
    settings["max_tokens_per_micro_batch"] = 1024  # pyright: ignore[reportArgumentType]
    assert plan_run(config(**settings)).memory.total <= 16e9
