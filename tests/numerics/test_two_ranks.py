"""Two real processes that share a step's groups over gloo have the gradients of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from tests.numerics.step_parts import (
    TEMPERATURE,
    HoldingEngine,
    assert_same,
    gradients_of,
    loss_settings,
    policy_and_reference,
    samples_of,
)

from atlas.models.passes.shared_prefix import siblings
from atlas.objectives.loss_types import LossType
from atlas.training.update import UpdateSettings, update

SCRIPT = Path(__file__).with_name("two_ranks.py")
SECONDS = 300
"""Far more than it takes, also where much else runs."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes found together, by loss type."""
    folder = tmp_path_factory.mktemp("ranks")
    env = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(rank), "2", str(folder)],
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        errors = [rank.communicate(timeout=SECONDS)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], errors
    return torch.load(folder / "found.pt")


@pytest.mark.parametrize("loss_type", get_args(LossType))
def test_two_ranks_have_the_gradients_of_one(found: dict[str, Any], loss_type: LossType) -> None:
    """Whatever the denominator; the dead group and the abstention are on the second rank only."""
    model, reference = policy_and_reference()
    samples = samples_of(model)
    groups = siblings(samples)
    assert all(sample.advantage is not None for group in groups[::2] for sample in group)
    metrics = update(
        HoldingEngine(model),
        reference,
        samples,
        UpdateSettings(loss=loss_settings(loss_type), temperature=TEMPERATURE, max_tokens=999),
    )
    together = found[loss_type]
    assert together["loss"].item() == pytest.approx(metrics["train/loss"], rel=1e-6)
    assert_same(together["gradients"], gradients_of(model), 1e-6)
