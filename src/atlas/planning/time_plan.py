"""How long a training takes at least: the products of its matrices at the speed of this device.

The speed is measured, in a third of a second. What a token costs, with P parameters::

    sampled, or read by a frozen model    2 P
    learned from, whole weights           6 P      an adapter's: 4 P
    the same, activations recomputed      2 P more

It is a bound from below: attention, optimiser, sampling one token after the other and whatever
else a step does come on top, and small models are mostly that. What earlier runs have recorded
(recorded_rate.py) and the log's ETA say more.
"""

from __future__ import annotations

import time
from datetime import timedelta

import torch

from atlas.config.grpo import GRPOConfig
from atlas.config.train import TrainConfig
from atlas.machine.precision import sampling_dtype, training_device

_SIZE = 2048
_SECONDS = 0.3


def learning_products(config: TrainConfig, num_parameters: int, num_tokens: float) -> float:
    """Return the operations of learning from so many tokens."""
    a_token = (4 if config.use_peft else 6) + (2 if config.gradient_checkpointing else 0)
    return a_token * num_parameters * num_tokens


def grpo_products(config: GRPOConfig, num_parameters: int, num_student: int) -> float:
    """Return the operations of a run whose texts are half as long as they may be.

    Args:
        num_parameters: Of the policy.
        num_student: Of the student; 0 where there is none.
    """
    teachings = config.max_steps * config.prompts_per_step * config.num_generations
    said, answered = (
        teachings * most / 2 for most in (config.teaching_tokens, config.attempt_tokens)
    )
    frozen = 2 if config.beta else 0
    learned = config.num_iterations * learning_products(config, num_parameters, said)
    return learned + (2 + frozen) * num_parameters * said + 2 * num_student * answered


def products_per_second() -> float:
    """Return how many operations a second this device's matrix products reach; it is tried."""
    device = training_device()
    matrix = torch.ones(_SIZE, _SIZE, device=device, dtype=sampling_dtype())
    done, started = 0, time.monotonic()
    while done < 2 or time.monotonic() - started < _SECONDS:
        float((matrix @ matrix)[0, 0])  # waits for it
        done += 1
    return done * 2 * _SIZE**3 / (time.monotonic() - started)


def least_seconds(products: float, speed: float, num_devices: int = 1) -> int:
    """Return how many seconds a training takes at least; as for `time_line`."""
    return max(1, round(products / speed / num_devices))


def time_line(products: float, speed: float, num_devices: int = 1) -> str:
    """Say how long a training takes at least.

    Args:
        products: Operations of its matrix products.
        speed: Operations a second of one device.
        num_devices: That share them.
    """
    least = timedelta(seconds=least_seconds(products, speed, num_devices))
    return (
        f"time: at least {least}: {products:.1e} operations at the {speed:.1e} a second that "
        "matrix products reach here (tried now); a try-out of three steps makes it an estimate: "
        "max_steps=3 logging_steps=1 and an output_dir beside this one"
    )
