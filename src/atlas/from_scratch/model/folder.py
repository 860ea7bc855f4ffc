"""The folder that guide A promises: ``models/atlas_<size>/``.

Input: a trained model as `transformers` saves it. Output: the same, and beside it
``model_weights.pkl`` (plain arrays), ``vocabulary.json`` (token -> id) and ``training_stats.json``.
The weights are mapped from their file, not loaded: a model that just fitted is saved all the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from atlas.errors import AtlasError
from atlas.from_scratch.model.pickled import BFLOAT16, WEIGHTS, Array, write_pickled
from atlas.json_file import read_json
from atlas.models.checkpoints import copy_model, load_tokenizer

SAFETENSORS = "model.safetensors"
VOCABULARY = "vocabulary.json"
STATS = "training_stats.json"


def save_model_folder(source: Path, folder: Path, stats: Mapping[str, Any]) -> int:
    """Write the folder in one move, replacing an older one.

    Args:
        source: A model folder.
        stats: What ``training_stats.json`` says, besides the number of parameters; its format is
            the JSON Schema in ``schemas/training_stats.schema.json``.

    Returns:
        The number of parameters.

    Raises:
        AtlasError: The disk is full.
    """
    parameters = num_parameters(source / SAFETENSORS)
    copy_model(
        source,
        folder,
        extra={
            VOCABULARY: vocabulary_text(load_tokenizer(source)),
            STATS: _json({"parameters": parameters, **stats}),
        },
        also={WEIGHTS: lambda path: write_pickled(path, mapped_arrays(source / SAFETENSORS))},
    )
    return parameters


def _json(stats: Mapping[str, Any]) -> str:
    """Return figures as JSON, which has no NaN: null is written for it."""
    plain = json.loads(json.dumps(stats), parse_constant=lambda name: None)
    return json.dumps(plain, indent=2) + "\n"


def claim_folder(folder: Path, run: str) -> None:
    """Check that a run may write its model to a folder, before any work is done, and make its
    parents.

    Args:
        folder: It may be missing or empty, or hold the model of the same run.
        run: The run's ``output_dir``, which ``training_stats.json`` names.

    Raises:
        AtlasError: It holds something else, or can't be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        there = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    except FileNotFoundError as error:
        if folder.parent.is_dir():
            return
        raise _unwritable(folder, error) from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    if not there:
        return
    try:
        owner = read_json(folder / STATS)["run"]
    except (AtlasError, KeyError) as error:
        raise AtlasError(
            f"model_dir {folder} holds {there[0]} and more, which no run of this version wrote; "
            "move it away, or set model_dir to another folder"
        ) from error
    if owner != run:
        raise AtlasError(
            f"model_dir {folder} holds the model of the run {owner}; move it away, or set "
            "model_dir to another folder"
        )


def _unwritable(folder: Path, error: OSError) -> AtlasError:
    return AtlasError(
        f"model_dir {folder} can't be written: {error.strerror}; set it to another folder"
    )


def vocabulary_text(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return ``vocabulary.json``: token -> id, in the order of the ids."""
    ordered = dict(sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1]))
    return json.dumps(ordered, ensure_ascii=False, indent=0) + "\n"


def num_parameters(weights: Path) -> int:
    """Return how many numbers a safetensors file holds; a tied weight is in it once."""
    with safe_open(weights, framework="pt") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - not a mapping


def mapped_arrays(weights: Path) -> dict[str, tuple[str, Array]]:
    """Return every weight of a safetensors file by name, with the name of its type.

    The arrays are views of the mapped file, which the system reads as they are used.
    """
    with safe_open(weights, framework="pt") as file:
        return {name: plain_array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118


def plain_array(tensor: Tensor) -> tuple[str, Array]:
    """Return a tensor's numbers with the name of its type; both share their memory."""
    if tensor.dtype == torch.bfloat16:
        return BFLOAT16, tensor.view(torch.uint16).numpy()
    return str(tensor.dtype).removeprefix("torch."), tensor.numpy()
