"""Which tasks a step of GRPO takes: a walk through all of them, in a new order each epoch.

The order derives from the seed alone, so that a run that goes on from a checkpoint meets the tasks
that the undisturbed one would have met.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache

from atlas.config.grpo import GRPOConfig
from atlas.run.seeding import derive_seed
from atlas.types import Task


def chosen_tasks(tasks: Sequence[Task], config: GRPOConfig, step: int) -> list[Task]:
    """Return the tasks of a step: a walk through all of them, in a new order each epoch."""
    size = config.prompts_per_step
    chosen: list[Task] = []
    for place in range((step - 1) * size, step * size):
        epoch, index = divmod(place, len(tasks))
        chosen.append(tasks[_order(len(tasks), config.seed, epoch)[index]])
    return chosen


def coming_tasks(tasks: Sequence[Task], config: GRPOConfig, first: int) -> list[Task]:
    """Return the tasks of all steps after the first ones, each once, in the order given."""
    coming: set[str] = set()
    for step in range(first + 1, config.max_steps + 1):
        coming |= {task.id for task in chosen_tasks(tasks, config, step)}
        if len(coming) == len(tasks):
            break
    return [task for task in tasks if task.id in coming]


@lru_cache(maxsize=2)  # a step may reach into the next epoch
def _order(size: int, seed: int, epoch: int) -> Sequence[int]:
    order = list(range(size))
    random.Random(derive_seed(seed, "grpo order", epoch)).shuffle(order)
    return order
