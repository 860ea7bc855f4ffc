"""Random numbers: one seed of the user -> an independent seed for every purpose.

    derive_seed(seed, "rollout", 3) = first 63 bits of SHA-256 of the list as JSON

A derived seed depends on its names alone, so that adding a consumer, or resuming in the middle,
changes no other's numbers; and it is equal on every machine.
"""

from __future__ import annotations

import hashlib
import json
import random

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """Return the seed of one purpose, 0 to 2⁶³ - 1.

    Args:
        names: What it is for, from the general to the particular, as in ``("rollout", step)``.

    Example:
        >>> derive_seed(0, "rollout", 3) == derive_seed(0, "rollout", 4)
        False
    """
    digest = hashlib.sha256(json.dumps([seed, *names]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_everything(seed: int, *names: str | int) -> int:
    """Seed Python, NumPy and PyTorch with ``derive_seed(seed, *names)``, and return that."""
    import torch  # noqa: PLC0415 - slow to import, and most who derive seeds don't need it

    derived = derive_seed(seed, *names)
    random.seed(derived)
    np.random.seed(derived % 2**32)
    torch.manual_seed(derived)
    return derived
