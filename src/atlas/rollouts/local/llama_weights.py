"""The weights of a model of the Llama family, as `LlamaDecoder` reads them.

Input: a `transformers` model. Output: its tensors by role, the projections that share their input
joined into one, in the precision that this processor multiplies fastest.

They are read anew for each call of the engine, since the trainer changes weights in place; that
costs less than one decoded token. What isn't joined or converted is the model's own tensor. The
adapter of a model is added to its weights here; where that would fill the memory, or round the
adapter away, the model is called unfit.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from atlas.models.lora import is_adapted, merged_weight, unwrapped

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer

_CLASSES = (
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
)
# Their frequencies don't depend on the length of the sequence.
_ROPES = ("default", "linear", "llama3", "yarn")
_NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")
_SLOW_HALVES = (torch.bfloat16, torch.float16)
# Joining and converting make copies. In wide models the products take the time, not the calls, and
# of large ones the copies would fill the memory.
_WIDEST_JOINED = 2048
_MOST_CONVERTED = 1_000_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear:
    """A projection."""

    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One block of the model."""

    attention_norm: Tensor
    qkv: tuple[Linear, ...]
    """Queries, keys and values, under one another or (in wide models) apart."""
    head_norm: Tensor | None
    """[heads, width]: weights of the norm of each query and key head (Qwen3)."""
    output: Linear
    mlp_norm: Tensor
    gate_up: tuple[Linear, ...]
    down: Linear


@dataclass(frozen=True, kw_only=True, slots=True)
class LlamaWeights:
    """All of the model."""

    embedding_VD: Tensor
    layers: tuple[Layer, ...]
    final_norm: Tensor
    head: Linear
    epsilon: float
    num_heads: int
    num_kv_heads: int
    head_width: int
    rotary: Any
    """The model's own module: positions to cosines and sines."""


def unfit(model: PreTrainedModel, longest: int, dtype: torch.dtype | None = None) -> str | None:
    """Say why a model can't be decoded from its weights; None if it can.

    Args:
        longest: most tokens of a sequence, the completion included.
        dtype: precision to compute in; None: that of `computing_dtype`.
    """
    net = unwrapped(model)
    if type(net).__name__ not in _CLASSES:
        return f"{type(net).__name__} is not of the Llama family"
    config: Any = net.config
    windows = [kind != "full_attention" for kind in getattr(config, "layer_types", None) or []]
    window = getattr(config, "sliding_window", None)
    if window and (any(windows) or not windows) and longest > window:
        return f"its attention window of {window} is shorter than the sequences"
    if config.hidden_act not in ("silu", "swish"):
        return f"its activation is {config.hidden_act}"
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope not in _ROPES:
        return f"its rotary embedding is of type {rope}"
    return (_unmergeable(net, dtype) if is_adapted(model) else None) or _altered(net)


def _unmergeable(model: PreTrainedModel, dtype: torch.dtype | None) -> str | None:
    if (dtype or computing_dtype(model)) in _SLOW_HALVES:
        return "added to weights of 16 bits, its adapter would be rounded away"
    if sum(p.numel() for p in model.parameters()) > _MOST_CONVERTED:
        return "weights with its adapter added would be a second copy of them"
    return None


def _altered(model: PreTrainedModel) -> str | None:
    for name, module in model.named_modules():
        hooked: Any = module
        if hooked._forward_hooks or hooked._forward_pre_hooks or "forward" in vars(module):
            return f"{name or 'the model'} has a hook or a forward of its own"
        linear = module.base_layer if _is_lora(module) else module
        if name.endswith("_proj") and type(linear) is not nn.Linear:
            return f"{name} is a {type(linear).__name__}"
        if name.endswith("norm") and type(module).__name__ not in _NORMS:
            return f"{name} is a {type(module).__name__}"
    if any(type(p.data) is not Tensor for p in model.parameters()):
        return "its parameters are no plain tensors"
    own = [p for name, p in model.named_parameters() if ".lora_" not in name]
    if len({(p.device, p.dtype) for p in own}) > 1:
        return "its parameters differ in precision or place"
    return None


def computing_dtype(model: PreTrainedModel) -> torch.dtype:
    """Return the precision to compute in: float32 where the processor has no half precision.

    A processor without such units emulates them, several times slower than float32, which holds the
    same weights exactly.
    """
    if model.device.type != "cpu" or model.dtype not in _SLOW_HALVES:
        return model.dtype
    can: Any = getattr(torch.cpu, "get_capabilities", dict)()
    fits = sum(p.numel() for p in model.parameters()) <= _MOST_CONVERTED
    units = ("avx512_bf16", "amx_bf16") if model.dtype == torch.bfloat16 else ("amx_fp16",)
    known_slow = can.get("architecture") == "x86_64" and not any(can.get(u) for u in units)
    return torch.float32 if known_slow and fits else model.dtype


def read_weights(model: PreTrainedModel, dtype: torch.dtype) -> LlamaWeights:
    """Read a model that `unfit` has nothing against.

    Args:
        dtype: of the products. Where the model's own is more exact, what passes from layer to layer
            stays in that, as under autocast: embedding and norms are then the model's own tensors.
    """
    causal: Any = unwrapped(model)
    exact = torch.promote_types(model.dtype, dtype)
    config: Any = causal.config
    attention: Any = causal.model.layers[0].self_attn
    width = attention.head_dim
    return LlamaWeights(
        embedding_VD=causal.model.embed_tokens.weight.to(exact),
        layers=tuple(_read_layer(layer, config, dtype, exact) for layer in causal.model.layers),
        final_norm=causal.model.norm.weight.to(exact),
        head=_linear(causal.lm_head, dtype),
        epsilon=config.rms_norm_eps,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        head_width=width,
        rotary=causal.model.rotary_emb,
    )


def _read_layer(layer: Any, config: Any, dtype: torch.dtype, exact: torch.dtype) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    head_norm = None
    if hasattr(attention, "q_norm"):
        norms = [attention.q_norm.weight] * config.num_attention_heads
        norms += [attention.k_norm.weight] * config.num_key_value_heads
        head_norm = torch.stack(norms).to(exact)
    return Layer(
        attention_norm=layer.input_layernorm.weight.to(exact),
        qkv=_joined([attention.q_proj, attention.k_proj, attention.v_proj], dtype),
        head_norm=head_norm,
        output=_linear(attention.o_proj, dtype),
        mlp_norm=layer.post_attention_layernorm.weight.to(exact),
        gate_up=_joined([mlp.gate_proj, mlp.up_proj], dtype),
        down=_linear(mlp.down_proj, dtype),
    )


def _joined(parts: Sequence[nn.Linear], dtype: torch.dtype) -> tuple[Linear, ...]:
    biases: list[Tensor] = [part.bias for part in parts if part.bias is not None]
    if parts[0].in_features > _WIDEST_JOINED or len(biases) not in (0, len(parts)):
        return tuple(_linear(part, dtype) for part in parts)
    weight = torch.cat([_weight(part, dtype) for part in parts])
    return (Linear(weight=weight, bias=torch.cat(biases).to(dtype) if biases else None),)


def _linear(part: nn.Linear, dtype: torch.dtype) -> Linear:
    bias: Tensor | None = part.bias
    return Linear(weight=_weight(part, dtype), bias=None if bias is None else bias.to(dtype))


def _weight(part: nn.Linear, dtype: torch.dtype) -> Tensor:
    return merged_weight(part, dtype) if _is_lora(part) else part.weight.to(dtype)


def _is_lora(part: nn.Module) -> TypeGuard[LoraLayer]:
    """Tell whether a part is peft's plain linear layer; peft is slow to import."""
    lora = sys.modules.get("peft.tuners.lora")
    return lora is not None and type(part) is lora.Linear
