"""Two processes train as one does, whichever engine shares the work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import engines

from atlas.parallel.distributed import ALONE

ROOT = Path(__file__).resolve().parents[2]
SHARED = (
    *("ddp", "fsdp", "fsdp+served"),
    *("zero1", "zero2", "zero2+offload", "zero3", "zero3+served"),
)

Found = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What each engine found in two processes, which were started once for all of them."""
    folder = tmp_path_factory.mktemp("engines")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *(str(Path(engines.__file__)), str(folder), *SHARED),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return torch.load(folder / "found.pt")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process found."""
    return engines.run("plain", ALONE, tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("name", SHARED)
def test_losses_norms_and_weights_are_those_of_one_process(
    name: str, found: Found, alone: dict[str, Any]
) -> None:
    assert len(alone["lines"]) == engines.STEPS
    for mine, wanted in zip(found[name]["lines"], alone["lines"], strict=True):
        assert mine == pytest.approx(wanted, rel=1e-5)
    for key, weight in alone["weights"].items():
        torch.testing.assert_close(found[name]["weights"][key], weight, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("name", SHARED)
def test_a_saved_state_means_the_same_to_every_engine(
    name: str, found: Found, alone: dict[str, Any]
) -> None:
    mine, wanted = found[name]["state"]["optimizer"], alone["state"]["optimizer"]
    assert [group["params"] for group in mine["param_groups"]] == [
        group["params"] for group in wanted["param_groups"]
    ]
    assert mine["state"].keys() == wanted["state"].keys()
    for index, moments in wanted["state"].items():
        for key, value in moments.items():
            torch.testing.assert_close(mine["state"][index][key], value, rtol=1e-3, atol=1e-6)
    assert found[name]["state"]["schedule"]["last_epoch"] == engines.STEPS


def test_fsdp_in_bf16_keeps_no_gathered_weight_and_its_reference_is_the_policy(
    found: Found,
) -> None:
    step = found["bf16"]
    assert step["dtypes"] == [{"torch.float32"}, {"torch.bfloat16"}]
    assert len(step["alive"]) >= 4
    assert not any(step["alive"])
    assert step["first"]["train/kl"] == 0.0
    assert step["second"]["train/kl"] > 0.0
