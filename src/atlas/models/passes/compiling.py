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

from atlas.models.passes.compiled import compile_layers, forget_compiled
from atlas.models.passes.evaluating import evaluating
from atlas.models.passes.forward import plain_hidden, shares_prompts
from atlas.models.passes.shared_prefix import keep_attention_uncompiled, pack, packed_hidden, trial

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}
_TOLERANCE_BELOW = 5e-2
"""Largest difference of hidden states and of gradients, relative to their size."""


def compile_training(model: PreTrainedModel) -> str:
    """Compile the layers of a model for its training passes; returns what a person should read."""
    started = time.monotonic()
    with evaluating(model):
        wanted = _passes(model)
        keep_attention_uncompiled()
        num_layers = compile_layers(model)
        try:
            found = _passes(model)
        except Exception as error:  # whatever the compiler raises, the layers themselves are there
            forget_compiled(model)
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            return f"torch_compile: layers run as they are, compiling failed: {first}"
    difference = max(
        float((a - b).float().norm() / b.float().norm().clamp(min=1e-12))
        for a, b in zip(found, wanted, strict=True)
    )
    seconds = time.monotonic() - started
    if not difference < _TOLERANCE.get(model.dtype, _TOLERANCE_BELOW):
        forget_compiled(model)
        return (
            f"torch_compile: layers run as they are, compiled they differ by {difference:.1g} of "
            "the size of hidden states or gradients"
        )
    return f"torch_compile: {num_layers} layers compiled for training in {seconds:.0f} s"


def _passes(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Return hidden states of a few tokens, and the gradient of the first trained weights."""
    batch = trial(model)
    shared = shares_prompts(model)
    hidden_MD = packed_hidden(model, pack(batch)) if shared else plain_hidden(model, batch)
    decoder: Any = model.get_decoder()
    first = next(p for p in decoder.parameters() if p.requires_grad)
    weights_MD = torch.linspace(-1, 1, hidden_MD.numel(), device=hidden_MD.device)
    loss = (hidden_MD.float() * weights_MD.view_as(hidden_MD)).sum()
    (gradient,) = torch.autograd.grad(loss, first)
    return hidden_MD.detach(), gradient
