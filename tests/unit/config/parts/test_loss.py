from __future__ import annotations

from typing import get_args

from atlas.config.parts import loss
from atlas.objectives import advantages, kl, loss_types


def test_choices_are_those_that_the_objectives_know() -> None:
    """The words are written twice, since a configuration must not import torch."""
    assert get_args(loss.LossType) == get_args(loss_types.LossType)
    assert get_args(loss.KlEstimator) == get_args(kl.KlEstimator)
    assert get_args(loss.AdvantageScale) == get_args(advantages.AdvantageScale)
