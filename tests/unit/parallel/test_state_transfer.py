"""A state taken apart and put together again; over several processes: tests/distributed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from atlas.parallel.distributed import ALONE
from atlas.parallel.state_transfer import on_all


def test_every_tensor_is_met_once_with_the_keys_that_lead_to_it() -> None:
    moments = {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2, 2, dtype=torch.bfloat16)}}
    state = {"optimizer": {"state": moments, "groups": [{"lr": 0.1, "params": [0]}]}, "done": True}
    met: dict[tuple[Any, ...], Tensor] = {}

    def keep(path: tuple[Any, ...], whole: Tensor) -> str:
        met[path] = whole
        return "kept"

    found = on_all(ALONE, state, keep, "a state")
    assert found == {
        "optimizer": {
            "state": {0: {"step": "kept", "exp_avg": "kept"}},
            "groups": [{"lr": 0.1, "params": [0]}],
        },
        "done": True,
    }
    assert list(met) == [("optimizer", "state", 0, name) for name in moments[0]]
    assert all(whole is moments[0][path[-1]] for path, whole in met.items())
