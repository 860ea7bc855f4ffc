"""Small tokenizers with the marks and the chat templates of models that think."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from atlas.from_scratch.model.tokenizer import train_tokenizer

TEMPLATES = Path(__file__).parent / "templates"
_BAR = "\uff5c"  # wide, as DeepSeek writes it
R1_BEGIN, R1_END = (f"<{_BAR}{side}▁of▁sentence{_BAR}>" for side in ("begin", "end"))
R1_USER, R1_ASSISTANT = (f"<{_BAR}{who}{_BAR}>" for who in ("User", "Assistant"))
_CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
_THINK = ("<think>", "</think>")

# Special tokens, added tokens that are none, end of sequence: as the models' owners publish them.
_MARKS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "qwen3": (_CHATML, _THINK, "<|im_end|>"),
    "smollm3": (_CHATML, _THINK, "<|im_end|>"),
    "deepseek_r1_distill": (
        (R1_BEGIN, R1_END),
        (R1_USER, R1_ASSISTANT, *_THINK),
        R1_END,
    ),
    "gpt_oss": (
        ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|call|>", "<|return|>"),
        (),
        "<|return|>",
    ),
}
THINKERS = tuple(_MARKS)


@cache
def thinker(name: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer that is the named model's in all but its words."""
    special, added, end = _MARKS[name]
    tokenizer = train_tokenizer(["Calculate 1 + 2. Add 1 to 2. Answer: 3\n\n"], vocab_size=300)
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in added])
    tokenizer.eos_token = end
    if name.startswith("deepseek"):
        tokenizer.bos_token = special[0]
    tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    tokenizer.name_or_path = name
    return tokenizer
