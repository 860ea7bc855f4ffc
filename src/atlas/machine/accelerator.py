"""What DeepSpeed is told before other libraries import it.

`transformers` and accelerate import it, where it is installed, whenever a model is saved or several
processes train. Left to itself it then warns on a machine without a GPU that it found none.
"""

from __future__ import annotations

import os

import torch

VARIABLE = "DS_ACCELERATOR"


def name_accelerator() -> None:
    """Name the CPU where there is no GPU; what the user has named stays."""
    if not torch.cuda.is_available():
        os.environ.setdefault(VARIABLE, "cpu")
