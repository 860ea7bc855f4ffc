"""A quantiser that needs no GPU: weights of 16 levels a row, kept as codes, as bitsandbytes' are.

Registered where `transformers` looks for quantisers, so that a model is loaded with it the way that
it is loaded with bitsandbytes; peft brings its weights back through the method that HQQ's have.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

_NAME = "fake_four_bits"


class FourBitLinear(nn.Linear):
    """Codes 0 to 15 and a scale for each row."""

    def __init__(self, source: nn.Linear) -> None:
        super().__init__(source.in_features, source.out_features, source.bias is not None)
        weight = source.weight.detach()
        scales = weight.abs().amax(dim=1, keepdim=True) / 7
        codes = ((weight / scales).round() + 8).to(torch.uint8)
        self.weight = nn.Parameter(codes, requires_grad=False)
        self.register_buffer("scales", scales, persistent=False)
        self.bias = source.bias

    @property
    def W_q(self) -> torch.Tensor:
        """The codes."""
        return self.weight

    def dequantize(self) -> torch.Tensor:
        """Return the weights that the codes stand for."""
        return (self.weight.to(self.scales.dtype) - 8) * self.scales

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply."""
        return nn.functional.linear(input, self.dequantize(), self.bias)


@register_quantization_config(_NAME)
class FakeFourBits(QuantizationConfigMixin):
    """What the model is loaded with."""

    def __init__(self, **_: Any) -> None:
        self.quant_method = _NAME  # pyright: ignore[reportAttributeAccessIssue]


@register_quantizer(_NAME)
class FakeQuantizer(HfQuantizer):
    """Replaces all linear layers but the head."""

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **_: Any) -> None:
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.Linear) and name != "lm_head":
                model.set_submodule(name, FourBitLinear(module))

    @property
    def is_trainable(self) -> bool:
        """Through adapters."""
        return True

    def is_serializable(self) -> bool:
        """Nothing saves it."""
        return False
