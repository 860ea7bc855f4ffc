"""One file for tools of the llama.cpp family: weights, shape and tokenizer as GGUF.

Input: configuration, weights and tokenizer of a stock Llama with byte-level BPE. Output: a
``.gguf`` file in the precision of the weights (norms always float32).

Two conventions differ from those of `transformers`. Tensors have other names, and rotations act on
neighbouring dimensions instead of both halves of a head, so the rows of the query and key
projections are reordered: head by head, row ``h + d/2 * i`` becomes row ``2 h + i`` (i is 0 or 1).

What isn't known to mean the same in the file is refused: of the tokenizer in `gguf_tokenizer`, of
the model here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from atlas.errors import AtlasError
from atlas.from_scratch.model.gguf_tokenizer import merges, split_name
from atlas.from_scratch.model.pickled import BFLOAT16, Array, as_float32
from atlas.run.files import replacing

_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(
    path: Path,
    config: PreTrainedConfig,
    tensors: Mapping[str, tuple[str, Array]],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Write the file, whole or not at all.

    Args:
        tensors: Name -> type and numbers, bfloat16 as its bits in uint16 (`pickled`).
        tokenizer: One that `split_name` knows a name for, with a chat template.

    Raises:
        AtlasError: GGUF has no words for the model or the tokenizer, or the disk is full.
    """
    _check(config)
    split = split_name(tokenizer)
    if tokenizer.eos_token_id is None:
        raise AtlasError("the tokenizer names no eos_token, without which no answer ends; set one")
    with replacing(path) as temporary:
        writer = gguf.GGUFWriter(temporary, "llama")
        _add_shape(writer, config)
        _add_tokenizer(writer, tokenizer, split, rows=config.vocab_size)
        for name, (dtype, array) in tensors.items():
            _add_tensor(writer, gguf_name(name), dtype, _reordered(name, array, config))
        bfloat16 = any(dtype == BFLOAT16 for dtype, _ in tensors.values())
        kinds = gguf.LlamaFileType
        writer.add_file_type(kinds.MOSTLY_BF16 if bfloat16 else kinds.ALL_F32)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def split_of(path: Path) -> str:
    """Return the name of the split that a file gives."""
    field = gguf.GGUFReader(path).get_field("tokenizer.ggml.pre")
    return "" if field is None else str(field.contents())


def gguf_name(name: str) -> str:
    """Return a tensor's name in GGUF.

    Example:
        >>> gguf_name("model.layers.3.self_attn.q_proj.weight")
        'blk.3.attn_q.weight'

    Raises:
        AtlasError: A stock Llama has no such tensor.
    """
    if name in _NAMES:
        return _NAMES[name]
    _, _, rest = name.partition("model.layers.")
    layer, _, part = rest.removesuffix(".weight").partition(".")
    if part not in _LAYER_NAMES or not name.endswith(".weight"):
        raise AtlasError(f"GGUF has no place for the tensor {name}; a stock Llama has none such")
    return f"blk.{layer}.{_LAYER_NAMES[part]}.weight"


def interleaved(weight: Array, heads: int) -> Array:
    """Return a projection's rows in GGUF's order: halves of a head become neighbours.

    Example: one head of four dimensions:
        >>> interleaved(np.array([[0], [1], [2], [3]]), 1).ravel().tolist()
        [0, 2, 1, 3]
    """
    split = weight.reshape(heads, 2, -1, *weight.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2)).reshape(weight.shape)


def _check(config: Any) -> None:
    if config.model_type != "llama":
        raise AtlasError(f"the model is a {config.model_type}; only llama is written as GGUF")
    head = config.hidden_size // config.num_attention_heads
    rope = config.rope_parameters
    said = {
        "rope_type": (rope.get("rope_type"), "default"),
        "partial_rotary_factor": (rope.get("partial_rotary_factor") or 1.0, 1.0),
        "head_dim": (getattr(config, "head_dim", None) or head, head),
        "hidden_act": (config.hidden_act, "silu"),
        "attention_bias": (config.attention_bias, False),
        "mlp_bias": (config.mlp_bias, False),
    }
    for key, (value, meant) in said.items():
        if value != meant:
            raise AtlasError(
                f"the model has {key} = {value} in config.json, and GGUF as written here means "
                f"{meant}; export it with --format safetensors"
            )


def _add_shape(writer: gguf.GGUFWriter, config: Any) -> None:
    heads = config.num_attention_heads
    writer.add_name("atlas")
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // heads)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Any, split: str, *, rows: int) -> None:
    known = {place: token for token, place in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    tokens = [known.get(place, f"[PAD{place}]") for place in range(rows)]
    kinds = [
        (gguf.TokenType.CONTROL if added[place].special else gguf.TokenType.USER_DEFINED)
        if place in added
        else gguf.TokenType.NORMAL
        if place in known
        else gguf.TokenType.UNUSED
        for place in range(rows)
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in merges(tokenizer)])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.bos_token_id is not None:  # which a chat template may name
        writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)


def _reordered(name: str, array: Array, config: Any) -> Array:
    if name.endswith("q_proj.weight"):
        return interleaved(array, config.num_attention_heads)
    if name.endswith("k_proj.weight"):
        return interleaved(array, config.num_key_value_heads)
    return array


def _add_tensor(writer: gguf.GGUFWriter, name: str, dtype: str, array: Array) -> None:
    if dtype == BFLOAT16 and array.ndim > 1:
        bits = np.ascontiguousarray(array).view(np.uint8)
        writer.add_tensor(name, bits, raw_dtype=gguf.GGMLQuantizationType.BF16)
        return
    writer.add_tensor(name, as_float32(dtype, array) if dtype == BFLOAT16 else array)
