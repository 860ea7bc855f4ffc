"""Log-probabilities under the reference policy: a model of its own, or the policy without adapter.

A policy that is trained through a low-rank adapter carries its reference within itself: with the
adapter switched off it is the model that it started from, and no second one is held.

A model of its own takes 4 bytes a weight in float32. Where its passes run in bfloat16, autocast
rounds the weights of its linear layers in every pass; they are held rounded already, in 2 bytes,
and the log-probabilities are the same, bit for bit.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from atlas.runtime.precision import computing
from atlas.training.forward import completion_logprobs, prepare_forward
from atlas.training.group_batch import GroupBatch
from atlas.training.shared_prefix import trial

_log = logging.getLogger(__name__)

_ROUNDED = (nn.Linear, Conv1D)
"""Layers that do nothing with weight and bias but one product, which autocast rounds them for."""


@runtime_checkable
class Adapted(Protocol):
    """A model with an adapter, as peft makes them."""

    def disable_adapter(self) -> contextlib.AbstractContextManager[None]:
        """Return a context within which the adapter does nothing."""
        ...


@torch.no_grad()
def reference_logprobs(
    reference: PreTrainedModel | None, batch: GroupBatch, temperature: float
) -> Tensor | None:
    """Return the reference's log-probabilities of the batch, [B, T]; None without a reference.

    Args:
        reference: The frozen model, or the policy itself where it has an adapter.
        batch: On the reference's device.
        temperature: Logits are divided by it.
    """
    if reference is None:
        return None
    with (
        reference.disable_adapter() if isinstance(reference, Adapted) else contextlib.nullcontext()
    ):
        return completion_logprobs(reference, batch, temperature=temperature).logprobs_BT


def frozen_reference(load: Callable[[], PreTrainedModel], *, autocast: bool) -> PreTrainedModel:
    """Load a reference model and make it as small as its passes allow.

    Args:
        load: Returns the model, in float32; called again if it can't be made smaller.
        autocast: Its passes run in bfloat16 where that is safe.
    """
    model = load().requires_grad_(False)
    if not autocast:
        return model
    # In float32, where what is the same can be told from what isn't.
    prepare_forward(model)
    expected_BT = _on_trial(model)
    hold_rounded(model)
    if _says(model, expected_BT):
        return model
    _log.info("the reference is held in float32: rounded weights would change what it says")
    return load().requires_grad_(False)


def hold_rounded(model: PreTrainedModel) -> None:
    """Hold linear layers in bfloat16, to which autocast rounds them in every pass.

    Embeddings and norms stay as they are, and so does what another layer reads too, such as the
    weight of a tied head. The model then runs under autocast only.
    """
    owners: dict[nn.Parameter, list[type[nn.Module]]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(parameter, []).append(type(module))
    for parameter, kinds in owners.items():
        if all(kind in _ROUNDED for kind in kinds):
            parameter.data = parameter.data.to(torch.bfloat16)


@torch.no_grad()
def _on_trial(model: PreTrainedModel) -> Tensor:
    with computing(model, True):
        return completion_logprobs(model, trial(model)).logprobs_BT


def _says(model: PreTrainedModel, expected_BT: Tensor) -> bool:
    try:
        return torch.equal(_on_trial(model), expected_BT)
    except RuntimeError:  # it multiplies some of these weights without autocast
        return False
