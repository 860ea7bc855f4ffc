"""The folder that guide A promises: ``models/atlas_<size>/``.

Input: a trained model as `transformers` saves it. Output: the same, and beside it
``model_weights.pkl`` (plain arrays), ``vocabulary.json`` (token -> id) and ``training_stats.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atlas.checkpoints import load_model, load_tokenizer, save_model
from atlas.small_lm.pickled import BFLOAT16, Array, write_pickled

WEIGHTS = "model_weights.pkl"
VOCABULARY = "vocabulary.json"
STATS = "training_stats.json"


def save_model_folder(source: Path, folder: Path, stats: Mapping[str, Any]) -> int:
    """Write the folder in one move, replacing an older one.

    Args:
        source: A model folder.
        folder: Where the result goes.
        stats: What ``training_stats.json`` says, besides the number of parameters.

    Returns:
        The number of parameters.

    Raises:
        AtlasError: The disk is full.
    """
    model, tokenizer = load_model(source, dtype=_dtype_of(source)), load_tokenizer(source)
    parameters = model.num_parameters()
    vocabulary = dict(sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1]))
    save_model(
        folder,
        model,
        tokenizer,
        extra={
            VOCABULARY: json.dumps(vocabulary, ensure_ascii=False, indent=0) + "\n",
            STATS: json.dumps({"parameters": parameters, **stats}, indent=2) + "\n",
        },
        also={WEIGHTS: lambda path: write_pickled(path, plain_arrays(model))},
    )
    return parameters


def plain_arrays(model: PreTrainedModel) -> dict[str, tuple[str, Array]]:
    """Return every parameter by name, a tied one once, with the name of its type."""
    return {name: _plain(tensor) for name, tensor in model.named_parameters()}


def _dtype_of(folder: Path) -> torch.dtype:
    """Return the precision that a folder's weights are in."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return torch.bfloat16 if config.get("dtype") == BFLOAT16 else torch.float32


def _plain(tensor: Tensor) -> tuple[str, Array]:
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        return BFLOAT16, tensor.view(torch.uint16).numpy()
    return str(tensor.dtype).removeprefix("torch."), tensor.numpy()
