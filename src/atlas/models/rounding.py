"""Frozen weights kept as autocast computes with them, at half the memory.

Under autocast a matrix product rounds its weights to bfloat16 in every pass. Of weights that never
change the rounded ones may as well be kept: the products are the same to the last bit. What is
looked up or multiplied number by number (embeddings, norms) is computed in float32 and stays.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


@torch.no_grad()
def round_products(model: PreTrainedModel) -> PreTrainedModel:
    """Round the weights of a frozen model's products to bfloat16, in place.

    Args:
        model: In float32. From now on it runs under autocast to bfloat16 only.
    """
    looked_up = {id(model.get_input_embeddings().weight)}
    for module in model.modules():
        if not isinstance(module, nn.Linear | Conv1D):
            continue
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in looked_up:  # a tied head is the embedding
                parameter.data = parameter.data.to(torch.bfloat16)
    return model
