"""Compiled layers, for training alone: the same modules and weights, another way to run them.

Only the layers of a model are compiled, one graph for all of them and for every length, and they
run compiled only within the context below: sampling with its growing caches would be compiled again
at every step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

BACKEND = "inductor"
_calls: WeakKeyDictionary[nn.Module, Callable[..., Any]] = WeakKeyDictionary()


def compile_layers(model: nn.Module) -> int:
    """Have the layers run compiled within `running_compiled`; returns how many there are."""
    layers: list[Any] = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    for layer in layers:
        _calls[layer] = torch.compile(layer._call_impl, dynamic=True, backend=BACKEND)
    return len(layers)


def forget_compiled(model: nn.Module) -> None:
    """Have the layers run as they are again."""
    for module in model.modules():
        _calls.pop(module, None)


@contextlib.contextmanager
def running_compiled(model: nn.Module) -> Iterator[None]:
    """Run the layers that were compiled so; others, and those without gradients, as they are."""
    layers: list[Any] = [m for m in model.modules() if m in _calls] if _calls else []
    if not torch.is_grad_enabled():
        layers = []
    before = [layer._compiled_call_impl for layer in layers]
    for layer in layers:
        layer._compiled_call_impl = _calls[layer]
    try:
        yield
    finally:
        for layer, call in zip(layers, before, strict=True):
            layer._compiled_call_impl = call
