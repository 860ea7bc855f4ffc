"""When the rollouts of a step are begun, and with how old weights."""

from __future__ import annotations

import threading

import pytest

from atlas.policy.ahead import Ahead


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_every_step_is_rolled_out_once_and_with_weights_at_most_so_old(ahead: int) -> None:
    """A trainer that is as slow as it can be: rollouts see the oldest weights that they may."""
    version = 0
    seen: dict[int, int] = {}
    idle = threading.Event()

    def roll_out(step: int) -> int:
        assert step not in seen
        seen[step] = version
        if step == min(step_now + ahead, 8):
            idle.set()
        return step

    rollouts = Ahead(roll_out, ahead=ahead, last=8)
    for step_now in range(1, 9):
        idle.clear()
        assert rollouts.take(step_now) == step_now
        if step_now + ahead <= 8 and ahead:
            assert idle.wait(20)  # all that may be sampled early has been
        version = step_now
    rollouts.close()
    ages = {step: step - 1 - version for step, version in seen.items()}
    assert sorted(seen) == list(range(1, 9))
    assert max(ages.values()) == ahead
    assert min(ages.values()) == 0


def test_an_error_reaches_the_step_that_it_belongs_to() -> None:
    def roll_out(step: int) -> int:
        if step == 2:
            raise ValueError("the server is gone")
        return step

    rollouts = Ahead(roll_out, ahead=1, last=3)
    assert rollouts.take(1) == 1
    with pytest.raises(ValueError, match="the server is gone"):
        rollouts.take(2)
    rollouts.close()


def test_other_work_with_the_same_models_waits_for_its_turn() -> None:
    running: set[str] = set()

    def alone(name: str) -> str:
        assert not running
        running.add(name)
        running.discard(name)
        return name

    rollouts = Ahead(lambda step: alone(f"step {step}"), ahead=2, last=5)
    assert rollouts.take(1) == "step 1"
    assert rollouts.between(lambda: alone("canary")) == "canary"
    assert rollouts.take(2) == "step 2"
    rollouts.close()
