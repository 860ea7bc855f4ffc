"""Activation checkpointing: layers that forget what they computed and compute it again backward.

`transformers` checkpoints a layer only while the layer is in training mode, and then drops the
caches and applies dropout. Here only the layers' own switch is set, so that everything within stays
as it is, and whatever stood around the forward stands around the second one too.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from atlas.models.passes.compiled import running_compiled

Around = Callable[[], contextlib.AbstractContextManager[Any]]


@contextlib.contextmanager
def recomputing(model: nn.Module, around: Around = contextlib.nullcontext) -> Iterator[None]:
    """Run a forward in which layers with activation checkpointing switched on are checkpointed.

    Layers that were compiled for training run compiled. Their second forward begins below the call
    that was compiled, and is run as it is or by the graph that holds both.

    Args:
        model: Prepared by ``activation_checkpointing_enable``; any other one is left alone.
        around: Makes a context for the second forward: what the first one runs in.
    """
    layers: list[Any] = [
        module
        for module in model.modules()
        if getattr(module, "gradient_checkpointing", False)
        and hasattr(module, "_gradient_checkpointing_func")
    ]
    if not layers or not torch.is_grad_enabled():
        layers = []
    before = [(layer.training, layer._gradient_checkpointing_func) for layer in layers]
    again = functools.partial(
        checkpoint,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), around()),
    )
    for layer in layers:
        layer.training, layer._gradient_checkpointing_func = True, again
    try:
        with running_compiled(model):
            yield
    finally:
        for layer, (training, function) in zip(layers, before, strict=True):
            layer.training, layer._gradient_checkpointing_func = training, function
