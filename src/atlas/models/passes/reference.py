"""Log-probabilities under the reference policy: a model of its own, or the policy without adapter.

A policy that is trained through a low-rank adapter carries its reference within itself: with the
adapter switched off it is the model that it started from, and no second one is held.
"""

from __future__ import annotations

import contextlib
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atlas.models.passes.forward import completion_logprobs
from atlas.models.passes.group_batch import GroupBatch


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
