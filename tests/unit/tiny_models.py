"""Language models small enough for a test: random weights, all of the machinery."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from atlas.from_scratch.model.tokenizer import CHAT_TEMPLATE, train_tokenizer
from atlas.models.lora import LoRA, add_adapter
from atlas.prompts.folder import shipped_prompts
from atlas.prompts.renderer import Renderer
from atlas.types import Tokens

VOCAB = 40
PAD, END = 0, 1

# Weights far larger than a real initialisation's: otherwise every token is equally likely, and a
# model that forgot its prompt would pass.
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
    "pad_token_id": PAD,
    "bos_token_id": None,
    "eos_token_id": END,
    "tie_word_embeddings": True,
}


def tiny_config(kind: str, **changes: Any) -> Any:
    """Return the configuration of one family of models."""
    if kind == "gpt2":
        return GPT2Config(
            vocab_size=VOCAB,
            n_positions=64,
            n_embd=32,
            n_layer=2,
            n_head=4,
            initializer_range=0.4,
            pad_token_id=PAD,
            bos_token_id=None,
            eos_token_id=END,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            **changes,
        )
    if kind == "llama":
        return LlamaConfig(**_SHAPE | changes)
    if kind == "qwen2":
        return Qwen2Config(**_SHAPE | changes)
    if kind == "qwen3":
        return Qwen3Config(**_SHAPE | changes, head_dim=8)
    if kind == "mistral":  # a window shorter than the prompts
        return MistralConfig(**_SHAPE | changes, sliding_window=4)
    if kind == "gemma3":
        layers = ["sliding_attention", "full_attention"]
        return Gemma3TextConfig(
            **_SHAPE | changes,
            head_dim=8,
            query_pre_attn_scalar=8,
            sliding_window=4,
            layer_types=layers,
        )
    raise ValueError(kind)


KINDS = ("llama", "qwen2", "qwen3", "gpt2", "mistral", "gemma3")


def tiny_model(
    kind: str = "llama", dtype: torch.dtype = torch.float32, *, seed: int = 0, **changes: Any
) -> PreTrainedModel:
    """Return a new model with random weights, in evaluation mode."""
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(tiny_config(kind, **changes), dtype=dtype).eval()


def adapted_model(
    kind: str = "llama", dtype: torch.dtype = torch.float32, *, dropout: float = 0.0, **changes: Any
) -> PreTrainedModel:
    """Return such a model with an adapter that has learned something; its weights are frozen."""
    shape = LoRA(rank=3, alpha=6, dropout=dropout)
    model = add_adapter(tiny_model(kind, dtype, **changes), shape, seed=5).to(dtype)
    torch.manual_seed(6)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer for a few lines of plans, with a chat template."""
    texts = ["Calculate 1 + 2 * 3. A = 2 * 3. B = 1 + A. Answer B. Answer: 7", "Take your time."]
    return train_tokenizer(texts, vocab_size=300)


def tiny_renderer(tokenizer: PreTrainedTokenizerBase | None = None) -> Renderer:
    """Return how a model with such a tokenizer is spoken to, with the plain prompts."""
    return Renderer(tokenizer=tokenizer or tiny_tokenizer(), prompts=shipped_prompts("plain"))


def byte_level_tokenizer(
    split: Any, corpus: Sequence[str], *, bos: str | None = None
) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE that splits texts so before it merges.

    Args:
        split: A pre-tokenizer that ends in bytes.
        corpus: What the merges are learned on.
        bos: What the chat template begins with; the tokenizer adds nothing itself.
    """
    made: Any = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = split, decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|pad|>", "<|end|>", "<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(corpus, trainer=trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<|pad|>", eos_token="<|end|>", bos_token=bos
    )
    fast.chat_template = "{{ bos_token }}" * bool(bos) + CHAT_TEMPLATE
    return fast


def other_end(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Return a copy whose template ends a turn with another token than the end of sequence."""
    other = copy.deepcopy(tokenizer)
    assert isinstance(other.chat_template, str)
    other.chat_template = other.chat_template.replace("<|end|>", "<|system|>")
    return other


def rows_of(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]) -> list[Tokens]:
    """Return as many completions of each prompt, each learned whole."""
    members = len(completions) // len(prompts)
    return [Tokens.of(prompts[row // members], ids) for row, ids in enumerate(completions)]
