"""A trained small model without PyTorch: NumPy alone runs ``models/atlas_*``.

Input: a folder with ``model_weights.pkl``, ``config.json`` and ``tokenizer.json``. Output: logits,
and greedy answers. It is the Llama of `transformers`, written down::

    x = E[ids]
    each layer:  x += O attention(rope(Q n(x)), rope(K n(x)), V n(x))
                 x += D (silu(G n(x)) * U n(x))             n: RMSNorm with a weight
    logits = E n(x)                                         E: the embedding, tied

RMSNorm: Zhang and Sennrich 2019, eq. 4. RoPE: Su et al. 2021, section 3.2.2, halves rotated.
SwiGLU: Shazeer 2020, eq. 6. No cache and no batch: for looking and for checking, not for serving.

Shapes: T tokens, D hidden, H heads, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from atlas.errors import AtlasError
from atlas.small_lm.pickled import as_float32, read_pickled

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NumpyLlama:
    """A model in memory."""

    config: Mapping[str, Any]
    weights: Mapping[str, Floats]
    tokenizer: Tokenizer

    @classmethod
    def load(cls, folder: str | Path) -> NumpyLlama:
        """Load a folder that ``train_atlas.py`` wrote.

        Raises:
            AtlasError: A file is missing or refused, or the model is no Llama.
        """
        folder = Path(folder)
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises plain Exception for a missing file
            raise AtlasError(f"{folder} holds no model: {error}") from error
        if config.get("model_type") != "llama":
            raise AtlasError(f"{folder} is a {config.get('model_type')}; NumPy runs llama only")
        weights = {
            name: as_float32(dtype, array)
            for name, (dtype, array) in read_pickled(folder / "model_weights.pkl").items()
        }
        return cls(config, weights, tokenizer)

    def logits(self, ids: Sequence[int]) -> Floats:
        """Return the logits after every token, [T, V]."""
        embedding_VD = self.weights["model.embed_tokens.weight"]
        x_TD = embedding_VD[np.asarray(ids)]
        for layer in range(self.config["num_hidden_layers"]):
            name = f"model.layers.{layer}"
            x_TD = x_TD + self._attention(name, self._norm(f"{name}.input_layernorm", x_TD))
            x_TD = x_TD + self._gated(name, self._norm(f"{name}.post_attention_layernorm", x_TD))
        head_VD = self.weights.get("lm_head.weight", embedding_VD)
        return self._norm("model.norm", x_TD) @ head_VD.T

    def answer(self, prompt: str, *, max_new_tokens: int = 128) -> str:
        """Answer a prompt greedily, as the model was trained to: a user's turn, then its own."""
        ids = self.tokenizer.encode(f"<|user|>{prompt}<|end|><|assistant|>").ids
        start, end = len(ids), self.config["eos_token_id"]
        for _ in range(max_new_tokens):
            ids.append(int(self.logits(ids)[-1].argmax()))
            if ids[-1] == end:
                break
        return self.tokenizer.decode(ids[start:], skip_special_tokens=True).strip()

    def _norm(self, name: str, x_TD: Floats) -> Floats:
        scale = np.sqrt((x_TD**2).mean(-1, keepdims=True) + self.config["rms_norm_eps"])
        normed_TD: Floats = (x_TD / scale).astype(np.float32)
        return self.weights[f"{name}.weight"] * normed_TD

    def _attention(self, layer: str, x_TD: Floats) -> Floats:
        length, width = x_TD.shape
        heads = self.config["num_attention_heads"]
        q, k, v = (
            (x_TD @ self.weights[f"{layer}.self_attn.{p}_proj.weight"].T)
            .reshape(length, heads, width // heads)
            .transpose(1, 0, 2)
            for p in "qkv"
        )
        q, k = self._rotated(q), self._rotated(k)
        scores_HTT = q @ k.transpose(0, 2, 1) / np.sqrt(width // heads)
        scores_HTT = np.where(np.tri(length, dtype=bool), scores_HTT, -np.inf)
        scores_HTT = np.exp(scores_HTT - scores_HTT.max(-1, keepdims=True))
        mixed = (scores_HTT / scores_HTT.sum(-1, keepdims=True)) @ v
        merged_TD = mixed.transpose(1, 0, 2).reshape(length, width)
        return merged_TD @ self.weights[f"{layer}.self_attn.o_proj.weight"].T

    def _rotated(self, x_HTd: Floats) -> Floats:
        half = x_HTd.shape[-1] // 2
        rope = self.config.get("rope_parameters") or self.config
        steps = rope.get("rope_theta", 10_000.0) ** (-np.arange(half) / half)
        angles = np.arange(x_HTd.shape[1])[:, None] * steps
        cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        first, second = x_HTd[..., :half], x_HTd[..., half:]
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    def _gated(self, layer: str, x_TD: Floats) -> Floats:
        gate, up, down = (self.weights[f"{layer}.mlp.{p}_proj.weight"] for p in _GATED)
        gated: Floats = x_TD @ gate.T
        opened: Floats = (gated / (1 + np.exp(-gated))).astype(np.float32)
        return cast("Floats", (opened * (x_TD @ up.T)) @ down.T)


_GATED = ("gate", "up", "down")
