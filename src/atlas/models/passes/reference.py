"""Log-probabilities under the reference policy: a model of its own, or the policy without adapter.

A policy that is trained through a low-rank adapter carries its reference within itself: with the
adapter switched off it is the model that it started from, and no second one is held.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atlas.models.passes.forward import logprobs
from atlas.types import Tokens


@runtime_checkable
class Adapted(Protocol):
    """A model with an adapter, as peft makes them."""

    def disable_adapter(self) -> contextlib.AbstractContextManager[None]:
        """Return a context within which the adapter does nothing."""
        ...


@torch.no_grad()
def reference_logprobs(
    reference: PreTrainedModel | None,
    rows: Sequence[Tokens],
    temperature: float,
    device: torch.device | None = None,
) -> Tensor | None:
    """Return the reference's log-probabilities of the rows, [B, T]; None without a reference.

    Args:
        reference: The frozen model, or the policy itself where it has an adapter.
        rows: Siblings side by side.
        temperature: Logits are divided by it.
        device: Where the pass is computed; None: where the reference's weights are.
    """
    if reference is None:
        return None
    with (
        reference.disable_adapter() if isinstance(reference, Adapted) else contextlib.nullcontext()
    ):
        return logprobs(reference, rows, temperature=temperature, device=device).logprobs_BT
