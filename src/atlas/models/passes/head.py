"""What a model does to its logits after its head, so that a projection in chunks does it too.

    z = softcap tanh(scale (W h + b) / softcap)

Input: a model. Output: its ``scale`` and ``softcap``. They are read from the configuration, and the
first time that a model is met its own logits on a few tokens are compared: a change that is not
known here would otherwise be silently wrong.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import PreTrainedModel

from atlas.errors import AtlasError
from atlas.models.passes.proof import disagreement, few_ids, proving
from atlas.objectives.head import LogitChange
from atlas.objectives.logprobs import selected_logprobs

_changes: WeakKeyDictionary[nn.Module, LogitChange] = WeakKeyDictionary()


def logit_change(model: PreTrainedModel, known: LogitChange | None = None) -> LogitChange:
    """Return what the model does to its logits.

    Args:
        known: It was found out elsewhere.

    Raises:
        AtlasError: It does something else, which training can't reproduce.
    """
    key = model.get_decoder()
    if known is not None:
        _changes[key] = known
    if key not in _changes:
        change = _configured(model.config.get_text_config())
        _check(model, change)
        _changes[key] = change
    return _changes[key]


def _configured(config: Any) -> LogitChange:
    """Read the names that Gemma 2, Cohere, Granite and Falcon H1 have for it."""
    scale = getattr(config, "logit_scale", None) or 1.0
    scale *= getattr(config, "lm_head_multiplier", None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0
    return LogitChange(scale=scale, softcap=getattr(config, "final_logit_softcapping", None))


@torch.no_grad()
def _check(model: PreTrainedModel, change: LogitChange) -> None:
    """Compare with the model's own logits."""
    head: Any = model.get_output_embeddings()
    decoder: Any = model.get_decoder()
    whole: Any = model
    ids_BT = torch.tensor([few_ids(model, 8)], device=model.device)
    targets_N = ids_BT[0].flip(0)
    with proving(model):
        hidden_ND = decoder(input_ids=ids_BT, use_cache=False).last_hidden_state[0]
        logits_NV = whole(input_ids=ids_BT, use_cache=False).logits[0].float()
        ours_N = selected_logprobs(
            hidden_ND, head.weight, targets_N, bias_V=head.bias, change=change
        ).logprobs_N
        theirs_N = logits_NV.log_softmax(-1).gather(-1, targets_N.unsqueeze(-1)).squeeze(-1)
        difference = disagreement(ours_N.float(), theirs_N, hidden_ND.dtype)
    if difference is not None:
        raise AtlasError(
            f"a model of type '{model.config.model_type}' computes its logits in a way that "
            "training can't reproduce; choose another model"
        )
