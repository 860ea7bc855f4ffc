"""Thoughts of a model, which are its own: where they end, and what it says to others after them.

Input: what an engine sampled. Output: the same, with the thoughts apart from what is said. Thoughts
are found by token ids, since text that was decoded without special tokens has lost their marks;
where a tokenizer has no token for a mark, it is found in the text.

What is said follows the last end of thoughts. Nothing is said where thoughts were begun after it,
or, as some templates do it, by the prompt, and weren't ended::

    prompt ...<|im_start|>assistant     <think> Five? </think> Add first.     "Add first."
    prompt ...<Assistant><think>         Five? </think> Add first.             "Add first."
    prompt ...<Assistant><think>         Five? Or six?                         unfinished
    prompt ...<think> </think>          Add first.                            "Add first."
    prompt ...<|start|>assistant        <|channel|>analysis<|message|>Five?<|end|><|start|>assistant
                                        <|channel|>final<|message|>Add.       "Add."
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from atlas.prompts.chat import text_ids
from atlas.types import Completion, Utterance

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PAIRS = (
    ("<think>", "</think>"),  # Qwen, DeepSeek, SmolLM3, GLM, Kimi, Nemotron
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<|channel>", "<channel|>"),  # Gemma 4
)
"""What begins thoughts, and what ends them."""
_CHANNEL, _MESSAGE = "<|channel|>", "<|message|>"  # gpt-oss
_FINAL = "final"
_TAIL = 16
"""Tokens at the end of a prompt that hold the mark which opens thoughts."""


@dataclass(frozen=True, slots=True)
class _Marks:
    """How a model marks its thoughts."""

    template: object
    """Of the tokenizer that they were read from."""
    begin: str
    end: str
    begin_id: int | None
    """None where the tokenizer has no token for the mark."""
    end_id: int | None
    boundaries: frozenset[int] = frozenset()
    """What a message of gpt-oss ends with, or begins with; empty for other models."""


def said(tokenizer: PreTrainedTokenizerBase, completion: Completion) -> Completion:
    """Return a completion whose text is what it says to others, with its thoughts apart."""
    marks = _marks(tokenizer)
    if marks.boundaries:
        return _of_channels(tokenizer, marks, completion)
    ids = completion.token_ids
    opened = _tail(tokenizer, completion.prompt_ids).endswith(marks.begin)
    if marks.end_id is None or marks.begin_id is None:
        return _of_text(tokenizer, marks, completion, opened)
    if not opened and marks.begin_id not in ids and marks.end_id not in ids:
        return completion
    start = len(ids) - ids[::-1].index(marks.end_id) if marks.end_id in ids else 0
    unfinished = marks.begin_id in ids[start:] or (opened and not start)
    start = len(ids) if unfinished else start
    marked = (marks.begin_id, marks.end_id)
    return _split(
        completion,
        text=_decode(tokenizer, ids[start:]),
        thoughts=_decode(tokenizer, [id for id in ids[:start] if id not in marked]),
        thought_tokens=start,
        unfinished=unfinished,
    )


def apart(text: str) -> tuple[str, str, bool]:
    """Split what came as text alone: what is said, the thoughts, and whether these didn't end.

    Example:
        >>> apart("<think>Five? Six.</think> Add first."), apart("<think>Five?")
        (('Add first.', 'Five? Six.', False), ('', 'Five?', True))
    """
    begin, end = next((pair for pair in PAIRS if pair[0] in text or pair[1] in text), PAIRS[0])
    thoughts, _, answer = text.rpartition(end)
    unfinished = begin in answer
    thoughts, answer = (text, "") if unfinished else (thoughts, answer)
    return answer.strip(), thoughts.replace(begin, "").strip(), unfinished


def lead_ids(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int], thoughts: str = ""
) -> list[int]:
    """Return the ids between a prompt and an answer that is written for the model.

    They end the thoughts that the prompt opened, and name the channel of what is said. Where the
    prompt has ended them already, as with ``enable_thinking=false``, nothing is thought.

    Args:
        tokenizer: With a chat template.
        prompt: Up to where the assistant's answer begins.
        thoughts: What it thinks before the answer; comes from data.
    """
    marks = _marks(tokenizer)

    def marked(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    inner = text_ids(tokenizer, thoughts)
    if marks.boundaries:
        header = f"{_CHANNEL}analysis{_MESSAGE}"
        analysis = [*marked(header), *inner, *marked("<|end|><|start|>assistant")]
        return [*(analysis if inner else ()), *marked(f"{_CHANNEL}{_FINAL}{_MESSAGE}")]
    if _tail(tokenizer, prompt).endswith(marks.end):
        return []
    opened = _tail(tokenizer, prompt).endswith(marks.begin)
    begun = marked(f"{marks.begin}\n") if inner and not opened else []
    return [*begun, *inner, *marked(f"\n{marks.end}\n\n")] if inner or opened else []


def split_text(text: str) -> tuple[str, str]:
    """Return the thoughts and the answer of a text in which ``<think>`` marks them.

    Example:
        >>> split_text("<think>Five?</think>Add first."), split_text("Add first.")
        (('Five?', 'Add first.'), ('', 'Add first.'))
    """
    begin, end = PAIRS[0]
    thoughts, found, answer = text.rpartition(end)
    return (thoughts.replace(begin, "").strip(), answer.lstrip()) if found else ("", text)


def joined(thoughts: str, answer: str) -> str:
    """Return a text that `split_text` takes apart again."""
    begin, end = PAIRS[0]
    return f"{begin}\n{thoughts}\n{end}\n\n{answer}" if thoughts else answer


def tagged(utterance: Utterance, tag: str | None) -> Utterance:
    """Return only what stands in the last whole tag; all else counts as thought.

    Example:
        >>> tagged(Utterance(text="So: <teaching>Add.</teaching>"), "teaching").text
        'Add.'
        >>> tagged(Utterance(text="So: <teaching>Add."), "teaching").withheld
        'untagged'
    """
    if not tag or utterance.withheld:
        return utterance
    inner = re.findall(rf"<{tag}>((?:(?!<{tag}>).)*?)</{tag}>", utterance.text, re.DOTALL)
    return replace(
        utterance,
        text=inner[-1].strip() if inner else "",
        thoughts=f"{utterance.thoughts}\n{utterance.text}".strip(),
        withheld="" if inner else "untagged",
    )


def _of_text(
    tokenizer: PreTrainedTokenizerBase, marks: _Marks, completion: Completion, opened: bool
) -> Completion:
    text = completion.text
    if not opened and marks.begin not in text and marks.end not in text:
        return completion
    thoughts, ended, answer = text.rpartition(marks.end)
    unfinished = marks.begin in answer or (opened and not ended)
    ids = completion.token_ids
    # The first token with which the last end of thoughts is whole.
    ends = text.count(marks.end)
    needed = bisect_left(
        range(len(ids)), ends, key=lambda n: _decode(tokenizer, ids[:n]).count(marks.end)
    )
    return _split(
        completion,
        text="" if unfinished else answer.strip(),
        thoughts=(text if unfinished else thoughts).replace(marks.begin, "").strip(),
        thought_tokens=len(ids) if unfinished else needed,
        unfinished=unfinished,
    )


def _of_channels(
    tokenizer: PreTrainedTokenizerBase, marks: _Marks, completion: Completion
) -> Completion:
    """Split what gpt-oss writes: messages, each in a channel; what is said is in the last final."""
    ids = completion.token_ids
    if marks.begin_id not in ids:
        return completion
    thoughts: list[str] = []
    start, body, final = 0, "", False
    for place, id in enumerate(ids):
        if id != marks.begin_id:
            continue
        thoughts.append(body)
        stop = next((n for n in range(place, len(ids)) if ids[n] == marks.end_id), len(ids))
        final = stop < len(ids) and _decode(tokenizer, ids[place:stop]).startswith(_FINAL)
        start = stop + 1
        end = next((n for n in range(start, len(ids)) if ids[n] in marks.boundaries), len(ids))
        body = _decode(tokenizer, ids[start:end])
    thoughts += [] if final else [body]
    return _split(
        completion,
        text=body if final else "",
        thoughts="\n".join(filter(None, thoughts)),
        thought_tokens=start if final else len(ids),
        unfinished=not final,
    )


def _split(
    completion: Completion, *, text: str, thoughts: str, thought_tokens: int, unfinished: bool
) -> Completion:
    return replace(
        completion,
        text=text,
        thoughts=thoughts,
        thought_tokens=thought_tokens,
        withheld="unfinished_thoughts" if unfinished else "",
    )


def _tail(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int]) -> str:
    """Return the end of a prompt with its marks: it may open thoughts, or end them."""
    return str(tokenizer.decode(list(prompt[-_TAIL:]), skip_special_tokens=False)).rstrip()


def _decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


_known: WeakKeyDictionary[object, _Marks] = WeakKeyDictionary()
"""Every completion asks."""


def _marks(tokenizer: PreTrainedTokenizerBase) -> _Marks:
    marks = _known.get(tokenizer)
    if marks is None or marks.template != tokenizer.chat_template:
        marks = _known[tokenizer] = _find_marks(tokenizer)
    return marks


def _find_marks(tokenizer: PreTrainedTokenizerBase) -> _Marks:
    """Return the marks that the tokenizer has tokens for, else those that its template names."""
    added = {str(token): id for id, token in tokenizer.added_tokens_decoder.items()}
    if _CHANNEL in added and _MESSAGE in added:
        names = ("<|end|>", "<|start|>", "<|return|>", "<|call|>", _CHANNEL)
        boundaries = frozenset(added[name] for name in names if name in added)
        ids = added[_CHANNEL], added[_MESSAGE]
        return _Marks(tokenizer.chat_template, _CHANNEL, _MESSAGE, *ids, boundaries)
    template = str(tokenizer.chat_template)
    begin, end = next(
        (pair for known in (added, template) for pair in PAIRS if pair[1] in known), PAIRS[0]
    )
    return _Marks(tokenizer.chat_template, begin, end, added.get(begin), added.get(end))
