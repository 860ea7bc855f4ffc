"""A trained small model without PyTorch: NumPy alone runs ``models/atlas_*``.

Input: a folder with ``model_weights.pkl``, ``config.json``, ``tokenizer.json`` and its chat
template. Output: logits, and greedy answers. It is the Llama of `transformers`, written down::

    x = E[ids]
    each layer:  x += O attention(rope(Q n(x)), rope(K n(x)), V n(x))
                 x += D (silu(G n(x)) * U n(x))             n: RMSNorm with a weight
    logits = E n(x)                                         E: the embedding, tied

RMSNorm: Zhang and Sennrich 2019, eq. 4. RoPE: Su et al. 2021, section 3.2.2, halves rotated.
SwiGLU: Shazeer 2020, eq. 6. Grouped heads: Ainslie et al. 2023, section 2.2. One row at a time:
for looking and for checking, not for serving.

Shapes: T tokens, S with the tokens before them, D hidden, H heads, d numbers a head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from jinja2.sandbox import ImmutableSandboxedEnvironment
from numpy.typing import NDArray
from tokenizers import Tokenizer

from atlas.errors import AtlasError, reason_of
from atlas.from_scratch.model.pickled import WEIGHTS, as_float32, read_pickled
from atlas.json_file import json_value
from atlas.models.manifest import refuse_damaged
from atlas.prompts.templates import trial

Floats = NDArray[np.float32]
Cache = dict[str, tuple[Floats, Floats]]
"""Layer -> its keys and values so far, [H, S, d] each."""


@dataclass(frozen=True, slots=True)
class NumpyLlama:
    """A model in memory."""

    config: Mapping[str, Any]
    weights: Mapping[str, Floats]
    tokenizer: Tokenizer
    template: str
    """Writes a dialogue as text (Jinja)."""

    @classmethod
    def load(cls, folder: str | Path) -> NumpyLlama:
        """Load a folder that ``train_atlas.py`` wrote.

        Raises:
            AtlasError: A file is missing or refused, or the model is none that is written here.
        """
        folder = Path(folder)
        refuse_damaged(folder)
        config = _read(folder / "config.json", json_value)
        tokenizer = _read(folder / "tokenizer.json", Tokenizer.from_str)
        template = _read(folder / "chat_template.jinja", str)
        _refuse_other_models(folder, config)
        if not (folder / WEIGHTS).is_file():
            raise AtlasError(
                f"{folder} has no {WEIGHTS}; atlas export {folder} --format pkl --output FOLDER "
                "writes it"
            )
        weights = {
            name: as_float32(dtype, array)
            for name, (dtype, array) in read_pickled(folder / WEIGHTS).items()
        }
        rows = len(weights.get("model.embed_tokens.weight", ()))
        if tokenizer.get_vocab_size() > rows:
            raise AtlasError(
                f"{folder / 'tokenizer.json'} has {tokenizer.get_vocab_size()} tokens, and the "
                f"model {rows} rows; take both from one place"
            )
        model = cls(config, weights, tokenizer, template)
        try:
            model.logits([0])
            range(config["max_position_embeddings"])
        except Exception as error:  # whatever NumPy makes of what doesn't fit together
            raise AtlasError(
                f"{folder}: config.json and {WEIGHTS} don't fit together ({reason_of(error)}); "
                "take both from one place"
            ) from error
        return model

    def logits(self, ids: Sequence[int], cache: Cache | None = None) -> Floats:
        """Return the logits after every token, [T, V].

        Args:
            cache: What an earlier call with the tokens before them left; it is brought up to date.
        """
        cache = {} if cache is None else cache
        embedding_VD = self.weights["model.embed_tokens.weight"]
        x_TD = embedding_VD[np.asarray(ids)]
        for layer in range(self.config["num_hidden_layers"]):
            name = f"model.layers.{layer}"
            normed_TD = self._norm(f"{name}.input_layernorm", x_TD)
            x_TD = x_TD + self._attention(name, normed_TD, cache)
            x_TD = x_TD + self._gated(name, self._norm(f"{name}.post_attention_layernorm", x_TD))
        head_VD = self.weights.get("lm_head.weight", embedding_VD)
        return self._norm("model.norm", x_TD) @ head_VD.T

    def answer(self, prompt: str, *, max_new_tokens: int = 128) -> str:
        """Answer a prompt greedily, as the model was trained to: a user's turn, then its own."""
        return "".join(self.stream(prompt, max_new_tokens=max_new_tokens)).strip()

    def stream(self, prompt: str, *, max_new_tokens: int = 128) -> Iterator[str]:
        """Yield the same answer piece by piece, as it is written.

        Raises:
            AtlasError: The prompt is longer than the model's window, or the template fails.
        """
        new = self.tokenizer.encode(self.render(prompt), add_special_tokens=False).ids
        room = self.config["max_position_embeddings"] - len(new)
        if room < 1:
            raise AtlasError(
                f"the prompt has {len(new)} tokens, and the model's window "
                f"{self.config['max_position_embeddings']}; shorten it"
            )
        ends = self.config["eos_token_id"]
        cache: Cache = {}
        said: list[int] = []
        text = shown = ""
        for _ in range(min(max_new_tokens, room)):
            new = [int(self.logits(new, cache)[-1].argmax())]
            if new[0] in (ends if isinstance(ends, list) else [ends]):
                break
            said += new
            text = self.tokenizer.decode(said, skip_special_tokens=True)
            half = text.endswith("\ufffd")  # of a character: its rest comes with the next token
            if not half:
                yield text[len(shown) :]
                shown = text
        yield text[len(shown) :]

    def render(self, prompt: str) -> str:
        """Return a dialogue of the user's turn and the opening of the model's, as text.

        Raises:
            AtlasError: The template fails.
        """
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        messages = [{"role": "user", "content": prompt}]

        def render() -> str:
            template = environment.from_string(self.template)
            return template.render(messages=messages, add_generation_prompt=True)

        wrong = trial(render)
        if wrong:
            raise AtlasError(f"the model's chat template fails: {wrong}")
        return render()

    def _norm(self, name: str, x_TD: Floats) -> Floats:
        scale = np.sqrt((x_TD**2).mean(-1, keepdims=True) + self.config["rms_norm_eps"])
        normed_TD: Floats = (x_TD / scale).astype(np.float32)
        return self.weights[f"{name}.weight"] * normed_TD

    def _attention(self, layer: str, x_TD: Floats, cache: Cache) -> Floats:
        length, width = x_TD.shape
        heads = self.config["num_attention_heads"]
        size = self.config.get("head_dim") or width // heads
        q, k, v = (
            (x_TD @ self.weights[f"{layer}.self_attn.{p}_proj.weight"].T)
            .reshape(length, -1, size)
            .transpose(1, 0, 2)
            for p in "qkv"
        )
        before = cache[layer][0].shape[1] if layer in cache else 0
        q, k = self._rotated(q, before), self._rotated(k, before)
        if before:
            k = np.concatenate([cache[layer][0], k], axis=1)
            v = np.concatenate([cache[layer][1], v], axis=1)
        cache[layer] = k, v
        k_HSd, v_HSd = (np.repeat(x, heads // x.shape[0], axis=0) for x in (k, v))
        scores_HTS = q @ k_HSd.transpose(0, 2, 1) / np.sqrt(size)
        seen_TS = np.tri(length, before + length, before, dtype=bool)
        scores_HTS = np.where(seen_TS, scores_HTS, -np.inf)
        scores_HTS = np.exp(scores_HTS - scores_HTS.max(-1, keepdims=True))
        mixed = (scores_HTS / scores_HTS.sum(-1, keepdims=True)) @ v_HSd
        merged_TD = mixed.transpose(1, 0, 2).reshape(length, heads * size)
        return merged_TD @ self.weights[f"{layer}.self_attn.o_proj.weight"].T

    def _rotated(self, x_HTd: Floats, before: int) -> Floats:
        half = x_HTd.shape[-1] // 2
        steps = _rope(self.config).get("rope_theta", 10_000.0) ** (-np.arange(half) / half)
        angles = np.arange(before, before + x_HTd.shape[1])[:, None] * steps
        cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        first, second = x_HTd[..., :half], x_HTd[..., half:]
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    def _gated(self, layer: str, x_TD: Floats) -> Floats:
        gate, up, down = (self.weights[f"{layer}.mlp.{p}_proj.weight"] for p in _GATED)
        gated: Floats = x_TD @ gate.T
        opened: Floats = (gated / (1 + np.exp(-gated))).astype(np.float32)
        return cast("Floats", (opened * (x_TD @ up.T)) @ down.T)


_GATED = ("gate", "up", "down")


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what says how positions turn, in the files of transformers 5 or of those before."""
    return config.get("rope_parameters") or config.get("rope_scaling") or config


_T = TypeVar("_T")


def _read(path: Path, parsed: Callable[[str], _T]) -> _T:
    """Return what a file of a model holds.

    Raises:
        AtlasError: It is missing, or broken.
    """
    try:
        return parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AtlasError(
            f"{path.parent} holds no model that can be asked: {path.name} is missing"
        ) from error
    except Exception as error:  # tokenizers raises plain Exception
        raise AtlasError(f"{path} can't be read: {error}") from error


def _refuse_other_models(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise AtlasError where a model computes something that isn't written here."""
    rope = _rope(config)
    found = {
        "model_type": config.get("model_type"),
        "hidden_act": config.get("hidden_act", "silu"),
        "rope_type": rope.get("rope_type", "default") if isinstance(rope, dict) else rope,
        "attention_bias": config.get("attention_bias", False),
        "mlp_bias": config.get("mlp_bias", False),
    }
    for name, value in found.items():
        if value != _WRITTEN[name]:
            raise AtlasError(
                f"{folder}: {name} is {value}, and NumPy runs {_WRITTEN[name]} only; "
                "load it in transformers"
            )


_WRITTEN: Mapping[str, Any] = {
    "model_type": "llama",
    "hidden_act": "silu",
    "rope_type": "default",
    "attention_bias": False,
    "mlp_bias": False,
}
