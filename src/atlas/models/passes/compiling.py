"""A policy's layers compiled for training, once it has been shown that they compute the same.

Input: a model. Output: the line of the log that says what was done. A model that can't be compiled
here (no C++ compiler, an operation that the compiler doesn't know) is trained as it is.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atlas.machine.precision import computing
from atlas.models.passes.compiled import compile_layers, forget_compiled
from atlas.models.passes.padded import padded_hidden
from atlas.models.passes.proof import disagreement, evaluating, few_rows
from atlas.models.passes.shared_prefix import (
    keep_attention_uncompiled,
    pack,
    packed_hidden,
    shares_prefixes,
)


def compile_training(model: PreTrainedModel, *, autocast: bool = False) -> str:
    """Compile the layers of a model for its training passes; returns what a person should read.

    Args:
        autocast: The training computes in bfloat16. The compiler makes other code then, so that
            what is checked here has to be that.
    """
    started = time.monotonic()
    with evaluating(model), computing(model.device, autocast):
        wanted = _passes(model)
        keep_attention_uncompiled()
        num_layers = compile_layers(model)
        try:
            found = _passes(model)
        except Exception as error:  # whatever the compiler raises, the layers themselves are there
            forget_compiled(model)
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            return f"torch_compile: layers run as they are, compiling failed: {first}"
        differences = [disagreement(a, b) for a, b in zip(found, wanted, strict=True)]
    seconds = time.monotonic() - started
    if any(differences):
        forget_compiled(model)
        return (
            "torch_compile: layers run as they are, compiled they differ by "
            f"{max(d or 0.0 for d in differences):.1g} of the size of hidden states or gradients"
        )
    return f"torch_compile: {num_layers} layers compiled for training in {seconds:.0f} s"


def _passes(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Return hidden states of a few tokens, and the gradient of the first trained weights."""
    rows, device = few_rows(model), model.device
    if shares_prefixes(model):
        hidden_MD = packed_hidden(model, pack(rows, device))
    else:
        hidden_MD = padded_hidden(model, rows, device)
    decoder: Any = model.get_decoder()
    first = next(p for p in decoder.parameters() if p.requires_grad)
    weights_MD = torch.linspace(-1, 1, hidden_MD.numel(), device=hidden_MD.device)
    loss = (hidden_MD.float() * weights_MD.view_as(hidden_MD)).sum()
    (gradient,) = torch.autograd.grad(loss, first)
    return hidden_MD.detach(), gradient
