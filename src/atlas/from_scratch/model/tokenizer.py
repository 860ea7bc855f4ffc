"""A byte-level BPE tokenizer for small models, trained on a corpus.

Input: texts. Output: a `PreTrainedTokenizerFast` with a chat template, saved as stock files.

Every digit is a token of its own (with the blank before it, where there is one), because a small
model learns arithmetic on digits and not on numbers cut at random. Words, marks and blanks are
split before merging, so that merges never cross a word.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END = "<|end|>"
PAD = "<|pad|>"
ROLES = ("system", "user", "assistant")

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

WORDS = r" ?\d| ?[\p{L}\p{M}]+| ?[^\s\p{L}\p{M}\d]|\s"
"""What is split before merging; letters of any script, with the marks on them, are words."""
EARLIER_WORDS = r" ?\d| ?[A-Za-z]+| ?[^\sA-Za-z\d]|\s"
"""The same for the shipped base model: only English letters make words."""


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer.

    Args:
        texts: the corpus; equal texts give equal merges.
        vocab_size: V, bytes and special tokens included.

    Returns:
        A tokenizer whose end-of-sequence token is ``<|end|>``, with a chat template.
    """
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415 - slow to import

    specials = [PAD, END, *(f"<|{role}|>" for role in ROLES)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
