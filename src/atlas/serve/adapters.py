"""Which layers of a served model an adapter may change, so that vLLM leaves the others alone.

Left to itself vLLM makes room in the head too. Atlas trains no adapter there, and vLLM 0.32 then
dies of prompts that are scored beside other requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from atlas.serve.checks import model_config
from atlas.serve.settings import ServerSettings


def room_for_adapters(settings: ServerSettings) -> ServerSettings:
    """Return the settings with the layers that adapters may change, where any are served.

    Raises:
        AtlasError: There is no such model.
    """
    if settings.lora_rank is None or settings.lora_layers:
        return settings
    return replace(settings, lora_layers=linear_layers(model_config(settings.model)))


def linear_layers(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the last names of all linear layers but the head.

    Args:
        config: What a model's config.json says. Empty is returned where transformers doesn't know
            the architecture; vLLM then makes room everywhere.
    """
    fields = dict(config)
    try:
        with torch.device("meta"):  # eight billion weights take no memory
            model: Any = AutoModelForCausalLM.from_config(
                AutoConfig.for_model(fields.pop("model_type", ""), **fields)
            )
    except Exception:  # of many kinds, by the value that is wrong; vLLM says which
        return ()
    head = model.get_output_embeddings()
    names = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }
    return tuple(sorted(names))
