"""What the watch remembers over an interruption, and what it says once."""

from __future__ import annotations

from atlas.data.tasks import make_tasks
from atlas.training.watch import RewardWatch, set_aside


def metrics(reward: float, *, tokens: float = 10.0) -> dict[str, float]:
    return {
        "train/reward": reward,
        "train/uplift": 0.2,
        "train/teaching_tokens": tokens,
        "reward/uplift": 0.2,
        "reward/own": reward - 0.2,
    }


def watched(watch: RewardWatch, rewards: list[float], *, restart: bool = False) -> list[str]:
    said: list[str] = []
    for step, reward in enumerate(rewards, start=1):
        watch.after_step(metrics(reward))
        if step % 5 == 0:
            watch.look(step, 0.5, 200)
        said += watch.warnings()
        if restart:
            watch = RewardWatch(watch.state())
    return said


RISING = [0.2] * 10 + [0.6] * 10


def test_a_reward_that_rises_alone_is_told_once_with_its_part() -> None:
    (said,) = watched(RewardWatch(), RISING)
    assert "the part 'own'" in said


def test_an_interruption_changes_nothing() -> None:
    assert watched(RewardWatch(), RISING, restart=True) == watched(RewardWatch(), RISING)


def test_an_honest_reward_is_left_alone() -> None:
    assert watched(RewardWatch(), [0.2] * 20) == []


def test_wordy_teachings_are_told_once() -> None:
    watch = RewardWatch()
    said: list[str] = []
    for tokens in [10.0] * 10 + [30.0] * 15:
        added = watch.after_step(metrics(0.2, tokens=tokens))
        said += watch.warnings()
    assert added == {"train/verbosity": 3.0}
    assert said == ["teachings are 3.0 times as long as at first, and no better"]


def test_what_is_set_aside_is_not_trained_on_and_does_not_depend_on_the_order() -> None:
    tasks = make_tasks("chain_sum", 20, seed=1)
    kept, canary = set_aside(tasks, 5)
    assert (len(kept), len(canary)) == (15, 5)
    assert not {task.id for task in kept} & {task.id for task in canary}
    _, again = set_aside(tasks[::-1], 5)
    assert {task.id for task in canary} == {task.id for task in again}
    assert set_aside(tasks, 0) == (tasks, [])
