"""Random models and a tokenizer for benchmarks, and how long what they write is.

Input: a shape, a precision, the probability of ending. Output: a folder that both sides load.

A model that is not trained ends its completions at random. Here the weights decide: one channel of
the residual stream is the same for every token, no layer writes to it, and only the head's row of
the end token reads it. So every engine, whatever it does inside, meets the same law of lengths.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

PAD, END = 0, 1
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}

_COMMON: dict[str, Any] = {
    "pad_token_id": PAD,
    "eos_token_id": END,
    "bos_token_id": None,
    "tie_word_embeddings": True,
    "max_position_embeddings": 1024,
}
_CHANNEL = 0
_CHANNEL_VALUE = 0.1


def config_of(shape: str) -> Any:
    """Return the configuration of a shape: ``4M`` like Qwen3, ``125M`` a Llama."""
    if shape == "4M":
        return Qwen3Config(
            vocab_size=4096,
            hidden_size=256,
            intermediate_size=640,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=64,
            **_COMMON,
        )
    if shape == "125M":
        return LlamaConfig(
            vocab_size=52000,
            hidden_size=768,
            intermediate_size=2048,
            num_hidden_layers=12,
            num_attention_heads=12,
            num_key_value_heads=12,
            **_COMMON,
        )
    raise ValueError(f"no shape is called {shape!r}")


def make_model(shape: str, dtype: str, *, end_probability: float) -> PreTrainedModel:
    """Return a random model that ends a completion with this probability after each token."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of(shape), dtype=torch.float32).eval()
    _set_end_probability(model, end_probability)
    return model.to(DTYPES[dtype])


def make_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer of words ``w2 w3 …``, one a token."""
    words = {"<pad>": PAD, "<end>": END} | {f"w{i}": i for i in range(2, vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", padding_side="left"
    )


def make_prompts(num: int, length: int, vocab_size: int, *, seed: int = 0) -> list[list[int]]:
    """Return prompts of random words, all of one length."""
    source = random.Random(seed)
    return [[source.randrange(2, vocab_size) for _ in range(length)] for _ in range(num)]


def save(folder: Path, shape: str, dtype: str, *, end_probability: float) -> None:
    """Write model and tokenizer."""
    model = make_model(shape, dtype, end_probability=end_probability)
    model.save_pretrained(folder)
    make_tokenizer(model.config.vocab_size).save_pretrained(folder)


@torch.no_grad()
def _set_end_probability(model: PreTrainedModel, probability: float) -> None:
    net: Any = model
    embedding_VD = model.get_input_embeddings().weight
    embedding_VD[:, _CHANNEL] = _CHANNEL_VALUE
    for layer in net.model.layers:
        layer.self_attn.o_proj.weight[_CHANNEL] = 0
        layer.mlp.down_proj.weight[_CHANNEL] = 0
    embedding_VD[END] = 0
    if probability == 0:
        embedding_VD[END, _CHANNEL] = -50.0
        return
    ids = torch.tensor(make_prompts(8, 64, model.config.vocab_size, seed=1))
    low, high = -50.0, 50.0
    for _ in range(30):  # the probability grows with the weight
        middle = (low + high) / 2
        embedding_VD[END, _CHANNEL] = middle
        found = net(ids).logits.softmax(-1)[..., END].mean()
        low, high = (middle, high) if found < probability else (low, middle)
