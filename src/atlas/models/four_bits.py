"""Frozen weights of four bits (QLoRA), by bitsandbytes, where there is a GPU for it.

What `transformers` is given when it loads the model; merging knows how to bring such weights back
(lora.py). NF4 with its constants quantised again is what QLoRA trains on (Dettmers et al. 2023,
arXiv 2305.14314, sections 3 and 4).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from atlas.errors import AtlasError


def four_bits(compute_dtype: torch.dtype) -> Any:
    """Return the quantisation that a model is loaded with.

    Args:
        compute_dtype: What weights are brought back to for each product.

    Raises:
        AtlasError: There is no GPU, or no bitsandbytes.
    """
    lacking = [] if torch.cuda.is_available() else ["a CUDA GPU"]
    lacking += [] if find_spec("bitsandbytes") else ["the package bitsandbytes"]
    if lacking:
        raise AtlasError(
            f"load_in_4bit=true needs {' and '.join(lacking)}, which this machine lacks; leave it "
            "out: use_peft=true alone trains the same adapter beside whole weights"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )
