"""Models of the Llama family, run from their weights: few operations a token, no masks built.

For one new token a row, what `transformers` does around the matrix products (modules, masks, cache
objects) costs as much as the products. Here a layer is four products and the operations between
them; prompts are computed once a group and attended to once a group (`shared_cache.py`).

Shapes: P prompts, G samples, B rows in flight, L longest prompt, N tokens, M model width, H heads
of queries, K heads of keys and of values, R = H / K, D width of a head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from atlas.rollouts.generator import Prompt
from atlas.rollouts.local.llama_weights import Layer, Linear, LlamaWeights
from atlas.rollouts.local.prefixes import stem_lengths
from atlas.rollouts.local.shared_cache import SharedCache

_Pair = tuple[Tensor, Tensor]
"""Keys and values of one layer."""

# Most tokens of prompts in one pass: what lies between the products then stays in the cache.
_PREFILL_TOKENS = 4096


class LlamaDecoder:
    """Decodes rows of groups that may enter at any time.

    Args:
        longest: most tokens of a sequence, the completion included.
    """

    joins = True

    def __init__(self, weights: LlamaWeights, longest: int) -> None:
        self._weights = weights
        self._device = weights.embedding_VD.device
        self._scale = weights.head_width**-0.5
        self._dtype = weights.head.weight.dtype
        self._cos, self._sin = _rotations(weights, longest)
        self._cache = SharedCache()
        self._positions_B = torch.zeros(0, dtype=torch.int64, device=self._device)

    def computing(self) -> AbstractContextManager[object]:
        """Return a context that changes nothing: the weights are in the precision to compute in."""
        return nullcontext()

    def admit(self, prompts: Sequence[Prompt], num_samples: int) -> Tensor:
        """Compute prompts and add their rows; see `Decoder.admit`."""
        lengths = [len(prompt) for prompt in prompts]
        logits_PV, layers = self._prefill(prompts)
        self._cache.admit(layers, lengths, num_samples)
        entering_B = torch.tensor(lengths, device=self._device).repeat_interleave(num_samples)
        self._positions_B = torch.cat([self._positions_B, entering_B])
        return logits_PV.repeat_interleave(num_samples, dim=0)

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only the rows at these places."""
        self._positions_B = self._positions_B[list(rows)]
        self._cache.keep(rows)

    def step(self, tokens_B: Tensor) -> Tensor:
        """Take one more token of every row; see `Decoder.step`."""
        self._cache.begin_step()
        cos, sin = self._cos[self._positions_B], self._sin[self._positions_B]
        # Rows that have ended may still be here: they stay at the last position.
        self._positions_B = (self._positions_B + 1).clamp(max=len(self._cos) - 1)
        hidden_BM = self._weights.embedding_VD[tokens_B]
        num_kv, width = self._weights.num_kv_heads, self._weights.head_width
        for index, layer in enumerate(self._weights.layers):
            queries_BHD, keys_BKD, values_BKD = self._heads(layer, hidden_BM, cos, sin)
            queries_BKRD = (queries_BHD * self._scale).view(len(tokens_B), num_kv, -1, width)
            attended = self._cache.attend(index, queries_BKRD, keys_BKD, values_BKD)
            hidden_BM = self._rest(layer, hidden_BM, attended.reshape(len(tokens_B), -1))
        return self._logits(hidden_BM)

    def _prefill(self, prompts: Sequence[Prompt]) -> tuple[Tensor, list[_Pair]]:
        """Return the logits after each prompt, and keys and values [P, K, L, D] of each layer.

        What prompts begin with in common is computed first, once, as prompts of its own.
        """
        stems = stem_lengths(prompts)
        layers = self._begun(prompts, stems)
        own = [len(prompt) - stem for prompt, stem in zip(prompts, stems, strict=True)]
        size = max(1, _PREFILL_TOKENS // max(own))
        logits: list[Tensor] = []
        for start in range(0, len(prompts), size):
            chosen = slice(start, start + size)
            parts = [(k[chosen], v[chosen]) for k, v in layers]
            logits.append(self._filled(prompts[chosen], stems[chosen], parts))
        return torch.cat(logits), layers

    def _begun(self, prompts: Sequence[Prompt], stems: Sequence[int]) -> list[_Pair]:
        """Return room for the keys and values of all layers, with those of the stems in it."""
        weights, longest = self._weights, max(map(len, prompts))
        shape = (len(prompts), weights.num_kv_heads, longest, weights.head_width)
        empty = torch.empty(0, dtype=self._dtype, device=self._device)
        # Zeros: a masked value is multiplied by 0, and 0 * NaN is NaN.
        layers = [(empty.new_zeros(shape), empty.new_zeros(shape)) for _ in weights.layers]
        if not any(stems):
            return layers
        begins = [tuple(prompt[:n]) for prompt, n in zip(prompts, stems, strict=True)]
        distinct = list(dict.fromkeys(begin for begin in begins if begin))
        place = {begin: i for i, begin in enumerate(distinct)}
        rows = torch.tensor([i for i, n in enumerate(stems) if n], device=self._device)
        source = torch.tensor([place[begin] for begin in begins if begin], device=self._device)
        _, computed = self._prefill(distinct)
        for (k, v), (stem_k, stem_v) in zip(layers, computed, strict=True):
            k[rows, :, : stem_k.shape[2]] = stem_k[source]
            v[rows, :, : stem_v.shape[2]] = stem_v[source]
        return layers

    def _filled(
        self, prompts: Sequence[Prompt], stems: Sequence[int], layers: Sequence[_Pair]
    ) -> Tensor:
        """Compute what follows the stems into ``layers``; returns the logits after each prompt.

        Only attention sees padding: queries and keys stand on the left, and no token looks right.
        """
        own = [prompt[n:] for prompt, n in zip(prompts, stems, strict=True)]
        lengths_P = torch.tensor([len(tokens) for tokens in own], device=self._device)
        last_P = lengths_P.cumsum(0) - 1
        rows_N = torch.arange(len(own), device=self._device).repeat_interleave(lengths_P)
        places_N = torch.arange(len(rows_N), device=self._device)
        places_N = places_N - (last_P + 1 - lengths_P)[rows_N]
        stems_P = torch.tensor(stems, device=self._device)
        columns_N = places_N + stems_P[rows_N]
        most, length = max(map(len, own)), max(map(len, prompts))
        mask = _seen(stems_P, most, length) if any(stems) else None
        ids_N = torch.tensor([token for tokens in own for token in tokens], device=self._device)
        hidden_NM = self._weights.embedding_VD[ids_N]
        cos, sin = self._cos[columns_N], self._sin[columns_N]
        for index, (layer, (keys, values)) in enumerate(
            zip(self._weights.layers, layers, strict=True)
        ):
            queries_NHD, keys_NKD, values_NKD = self._heads(layer, hidden_NM, cos, sin)
            keys[rows_N, :, columns_N], values[rows_N, :, columns_N] = keys_NKD, values_NKD
            queries = queries_NHD.new_zeros(len(own), most, *queries_NHD.shape[1:])
            queries[rows_N, places_N] = queries_NHD
            attended = F.scaled_dot_product_attention(
                queries.transpose(1, 2),
                keys[:, :, :length],
                values[:, :, :length],
                attn_mask=mask,
                is_causal=mask is None,
                scale=self._scale,
                enable_gqa=True,
            )
            attended_NM = attended.transpose(1, 2)[rows_N, places_N].flatten(1)
            if index == len(self._weights.layers) - 1:
                # Of the last layer only the last token's output is needed.
                hidden_NM, attended_NM = hidden_NM[last_P], attended_NM[last_P]
            hidden_NM = self._rest(layer, hidden_NM, attended_NM)
        return self._logits(hidden_NM)

    def _heads(
        self, layer: Layer, hidden_NM: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return rotated queries [N, H, D], rotated keys and values [N, K, D]."""
        weights = self._weights
        num_rotated = weights.num_heads + weights.num_kv_heads
        heads = _linears(self._normed(hidden_NM, layer.attention_norm), layer.qkv)
        heads = heads.view(len(hidden_NM), -1, weights.head_width)
        rotated = heads[:, :num_rotated]
        if layer.head_norm is not None:
            rotated = F.rms_norm(rotated, (weights.head_width,), None, weights.epsilon)
            rotated = rotated * layer.head_norm
        # The halves of sin carry the signs of rotate_half.
        rotated = torch.addcmul(rotated * cos, rotated.roll(weights.head_width // 2, -1), sin)
        rotated = rotated.to(self._dtype)
        return (
            rotated[:, : weights.num_heads],
            rotated[:, weights.num_heads :],
            heads[:, num_rotated:],
        )

    def _rest(self, layer: Layer, hidden_NM: Tensor, attended_NM: Tensor) -> Tensor:
        """Return the output of a layer from what its attention found."""
        hidden_NM = _added(hidden_NM, attended_NM, layer.output)
        both = _linears(self._normed(hidden_NM, layer.mlp_norm), layer.gate_up)
        gate, up = both.chunk(2, dim=-1)
        return _added(hidden_NM, F.silu(gate).mul_(up), layer.down)

    def _normed(self, hidden_NM: Tensor, weight_M: Tensor) -> Tensor:
        normed_NM = F.rms_norm(hidden_NM, weight_M.shape, weight_M, self._weights.epsilon)
        return normed_NM.to(self._dtype)

    def _logits(self, hidden_BM: Tensor) -> Tensor:
        return _linears(self._normed(hidden_BM, self._weights.final_norm), (self._weights.head,))


def _seen(stems_P: Tensor, most: int, length: int) -> Tensor:
    """Return which of the columns each query behind its stem sees, bool [P, 1, most, length]."""
    places = torch.arange(most, device=stems_P.device) + stems_P.unsqueeze(-1)
    columns = torch.arange(length, device=stems_P.device)
    return (columns <= places.unsqueeze(-1)).unsqueeze(1)


def _rotations(weights: LlamaWeights, longest: int) -> tuple[Tensor, Tensor]:
    """Return cosines and signed sines of every position, [positions, 1, D]."""
    device, dtype = weights.embedding_VD.device, weights.embedding_VD.dtype
    positions = torch.arange(longest, device=device).unsqueeze(0)
    cos, sin = weights.rotary(weights.embedding_VD[:1], positions)
    half = weights.head_width // 2
    sin = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)
    return cos[0].unsqueeze(1).to(dtype), sin[0].unsqueeze(1).to(dtype)


def _linears(input_NM: Tensor, linears: Sequence[Linear]) -> Tensor:
    """Return the outputs of projections of one input, side by side."""
    outputs = [F.linear(input_NM, linear.weight, linear.bias) for linear in linears]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)


def _added(hidden_NM: Tensor, input_NM: Tensor, linear: Linear) -> Tensor:
    """Return hidden + linear(input), in the precision of hidden."""
    if hidden_NM.dtype != linear.weight.dtype:
        return hidden_NM + F.linear(input_NM, linear.weight, linear.bias)
    if linear.bias is not None:
        hidden_NM = hidden_NM + linear.bias
    return torch.addmm(hidden_NM, input_NM, linear.weight.t())
