"""What calls came to, of one process and of several."""

from __future__ import annotations

import pytest

from atlas.endpoint.tally import joint_metrics


def test_ranks_tell_of_their_calls_together() -> None:
    shares = [
        {"rim_rewards": 0.2, "judges/calls": 3.0, "judges/abstention_rate": 0.5},
        {"rim_rewards": 0.6, "judges/calls": 4.0, "judges/cost": 0.5},
    ]
    assert joint_metrics(shares) == {
        "rim_rewards": pytest.approx(0.4),
        "judges/calls": 7.0,
        "judges/abstention_rate": 0.5,
        "judges/cost": 0.5,
    }
