"""The shape of a model without its weights: what a memory plan needs to know of it.

Input: a folder, a hub id or a shipped model. Output: a `ModelShape`, counted on the meta device, so
that eight billion parameters take no memory. The hub is not asked: the models of the presets are
listed in ``known_models.json``, any other one has to lie in a folder or in the hub's cache.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from atlas.errors import AtlasError, reason_of
from atlas.json_file import read_json
from atlas.machine.shipped import model_path
from atlas.planning.memory_plan import ModelShape

_KNOWN = Path(__file__).with_name("known_models.json")


class UnknownShapeError(AtlasError):
    """Nothing is known of a model's shape here, so that what it takes can't be planned."""


def shape_of_model(name: str) -> ModelShape:
    """Return a model's shape.

    Raises:
        UnknownShapeError: Nothing is known of it here, or its configuration describes none.
    """
    try:
        return _shape(name)
    except AtlasError:
        raise
    # As in `atlas.models.whole.in_one_line`: a value that nobody expected comes back as any error.
    except Exception as error:
        raise UnknownShapeError(
            f"the shape of '{name}' isn't known here: its config.json describes no model "
            f"({reason_of(error)})"
        ) from error


def _shape(name: str) -> ModelShape:
    config = _config(name)
    there = name not in known_models() or Path(name).is_dir()
    text = config.get_text_config()
    return ModelShape(
        num_parameters=_num_parameters(config) if there else _num_parameters_of(name),
        num_layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        vocab=text.vocab_size,
        kv_width=cache_width(text),
        query_width=text.num_attention_heads * _head_width(text),
        window=getattr(text, "max_position_embeddings", None) or 0,
    )


def cache_width(text: PreTrainedConfig) -> int:
    """Return the numbers that one layer keeps of a token as its key; 0 where it keeps none."""
    heads = getattr(text, "num_attention_heads", None) or 0
    return (getattr(text, "num_key_value_heads", None) or heads) * _head_width(text)


def _head_width(text: PreTrainedConfig) -> int:
    heads = getattr(text, "num_attention_heads", None)
    return getattr(text, "head_dim", None) or (text.hidden_size // heads if heads else 0)


def known_models() -> dict[str, dict[str, Any]]:
    """Return the configurations of the presets' models by their hub id."""
    return read_json(_KNOWN)


def _config(name: str) -> PreTrainedConfig:
    fields = dict(known_models().get(name, {}))
    if fields and not Path(name).is_dir():
        return AutoConfig.for_model(fields.pop("model_type"), **fields)
    try:
        return AutoConfig.from_pretrained(
            model_path(name), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise UnknownShapeError(
            f"the shape of '{name}' isn't known here: there is no such folder with a config.json, "
            "and a plan asks no hub; name a folder, or a model of the same shape: "
            f"{', '.join(known_models())}"
        ) from error


@cache
def _num_parameters_of(name: str) -> int:
    """Return the same of one of the presets' models, whose shape never changes."""
    return _num_parameters(_config(name))


def _num_parameters(config: PreTrainedConfig) -> int:
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
    return model.num_parameters()
