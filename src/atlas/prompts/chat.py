"""Messages to token ids through a tokenizer's own chat template.

A template writes its own marks and what was said in one text. What was said comes from data, and is
nothing but text: ``<|im_end|>`` in it ends no turn. So where a message contains what a mark looks
like, the template is given a stand-in of private characters for it; the text that comes of it is
cut at the marks, which are now the template's own, and the words are put back into the stretches
between them, which are encoded without reading marks. Any other message is encoded in one go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from atlas.errors import AtlasError
from atlas.json_file import json_value
from atlas.prompts import Message
from atlas.prompts.template_shape import OTHER, PRIVATE, Shape, find_shape
from atlas.prompts.templates import NOTHING, through_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ASKED: Message = {"role": "user", "content": "a"}
_ANSWERED: Message = {"role": "assistant", "content": "b"}


@through_template
def encode(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    *,
    given: Mapping[str, Any] = NOTHING,
) -> list[int]:
    """Return the ids of messages with the template's opening of the assistant's turn.

    Args:
        tokenizer: With a chat template.
        messages: At least one.
        given: To the template besides them, as ``enable_thinking``.

    Raises:
        AtlasError: the tokenizer has no chat template, or one that fails.
    """
    marks = _marks(tokenizer, given)
    messages = [_broken(message, marks.pattern) for message in messages]
    if not any(marks.pattern.search(message["content"]) for message in messages):
        return _ids(tokenizer, marks.shape.fit(messages), given, opened=True)
    words: list[str] = []

    def hide(found: re.Match[str]) -> str:
        words.append(found[0])
        return f"{PRIVATE}-{len(words) - 1}\ue001"

    def as_text(stretch: str, *, first: bool) -> list[int]:
        shown = re.sub(f"{PRIVATE}-(\\d+)\ue001", lambda m: words[int(m[1])], stretch)
        return marks.as_text(shown, first=first)

    hidden = [{**m, "content": marks.pattern.sub(hide, m["content"])} for m in messages]
    text: Any = tokenizer.apply_chat_template(
        marks.shape.fit(hidden), add_generation_prompt=True, tokenize=False, **given
    )
    cut = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = []
    begin = 0
    for id, (start, end) in zip(cut["input_ids"], cut["offset_mapping"], strict=True):
        if marks.names.get(text[start:end].strip()) == id:
            ids += [*as_text(text[begin:start], first=not begin), id]
            begin = end
    return [*ids, *as_text(text[begin:], first=not begin)]


def _broken(message: Mapping[str, Any], pattern: re.Pattern[str]) -> Mapping[str, Any]:
    """Return a message in whose calls of tools what looks like a mark is none.

    A template writes them as it likes, so that they can't be put back as words are.
    """
    calls = message.get("tool_calls")
    text = json.dumps(calls, ensure_ascii=False) if calls else ""
    if not pattern.search(text):
        return message
    broken = pattern.sub(lambda mark: f"{mark[0][:1]} {mark[0][1:]}", text)
    return {**message, "tool_calls": json_value(broken, list)}


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of text that comes from data, and is nothing but text.

    The name of a special token in it is cut as any other word: ``<|end|>`` in a response ends no
    turn.
    """
    marks = _marks(tokenizer)
    if marks.pattern.search(text):
        return marks.as_text(text, first=True)
    return tokenizer.encode(text, add_special_tokens=False)


def answer_ids(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    *,
    ended: bool = True,
    given: Mapping[str, Any] = NOTHING,
) -> list[int]:
    """Return the ids of an answer of the assistant, with what ends its turn in the template.

    Args:
        tokenizer: With a chat template.
        text: Comes from data.
        ended: False where the text breaks off.
        given: To the template.
    """
    ids = text_ids(tokenizer, text)
    return [*ids, turn_end_id(tokenizer, given=given)] if ended else ids


@through_template
def has_system_role(
    tokenizer: PreTrainedTokenizerBase, *, given: Mapping[str, Any] = NOTHING
) -> bool:
    """Tell whether the chat template writes a system prompt as a turn of its own.

    Raises:
        AtlasError: The tokenizer has no chat template, or one that fails.
    """
    return _marks(tokenizer, given).shape.system


@through_template
def has_tool_role(
    tokenizer: PreTrainedTokenizerBase, *, given: Mapping[str, Any] = NOTHING
) -> bool:
    """Tell whether the chat template shows tools, calls of them, and what these return.

    Raises:
        AtlasError: The tokenizer has no chat template, or one that fails at any dialogue.
    """
    schema = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
    about = {"name": f"f{PRIVATE[1:]}", "description": "d", "parameters": schema}
    called = {"name": about["name"], "arguments": {"x": OTHER}}
    call = {"id": "call00000", "type": "function", "function": called}
    messages: list[dict[str, Any]] = [
        _ASKED,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "name": about["name"], "content": PRIVATE},
    ]
    try:
        text: Any = tokenizer.apply_chat_template(
            _marks(tokenizer, given).shape.fit(messages),
            tokenize=False,
            add_generation_prompt=True,
            **{**given, "tools": [{"type": "function", "function": about}]},
        )
    except MemoryError:
        raise
    except Exception:  # whatever a template that knows none makes of it
        return False
    # Once where it is told of, once where it is called.
    return text.count(about["name"]) >= 2 and OTHER[1:] in text and PRIVATE in text


@through_template
def turn_end_id(tokenizer: PreTrainedTokenizerBase, *, given: Mapping[str, Any] = NOTHING) -> int:
    """Return the id that ends a turn of the assistant in the tokenizer's own chat template.

    That is the last special token of a turn that the template writes, as ``<end_of_turn>`` in
    Gemma's, whose end of sequence is another; where it writes none, the end of sequence.

    Raises:
        AtlasError: the tokenizer has no chat template, one that fails, or no end at all.
    """
    end = _marks(tokenizer, given).end
    return token_id(tokenizer, "eos") if end is None else end


def reply_ids(
    tokenizer: PreTrainedTokenizerBase,
    said: Sequence[int],
    reply: str,
    *,
    given: Mapping[str, Any] = NOTHING,
) -> list[int]:
    """Return the ids between a turn of the assistant and its next one, where a user replies.

    The turn itself stays as it was said, whatever the template makes of turns that have others
    after them: some take the thoughts out, some end them by another token.

    Args:
        tokenizer: With a chat template.
        said: The ids of the turn; its end is written here where it isn't the last of them.
        reply: What the user says.
        given: To the template.

    Raises:
        AtlasError: The template fails.
    """
    asked: Message = {"role": "user", "content": reply}
    one, other = (
        encode(tokenizer, [_ASKED, {"role": "assistant", "content": text}, asked], given=given)
        for text in ("a", "b")
    )
    after = one[len(one) - _num_shared(one[::-1], other[::-1]) :]
    end, added = turn_end_id(tokenizer, given=given), tokenizer.added_tokens_decoder
    ends = _marks(tokenizer, given).end is not None
    if not said or said[-1] != end:
        return after if ends else [end, *after]
    written = next((n for n, id in enumerate(after, start=1) if id in added), 0)
    return after[written:] if ends else after


def token_id(tokenizer: PreTrainedTokenizerBase, name: Literal["eos", "pad"]) -> int:
    """Return the id of a special token.

    Raises:
        AtlasError: the tokenizer has none.
    """
    found: Any = tokenizer.eos_token_id if name == "eos" else tokenizer.pad_token_id
    if not isinstance(found, int):
        raise AtlasError(f"tokenizer of '{tokenizer.name_or_path}' has no {name} token")
    return found


@dataclass(frozen=True, kw_only=True)
class _Marks:
    """What is no text to a tokenizer: special tokens, and what its chat template writes."""

    template: Any
    """Of which they are."""
    shape: Shape
    """What the template takes."""
    names: dict[str, int]
    pattern: re.Pattern[str]
    end: int | None
    """What ends a turn of the assistant; None where the template writes no token for it."""
    backend: Any
    """The tokenizer's own, in Rust."""

    def as_text(self, text: str, *, first: bool) -> list[int]:
        """Return the ids of text in which no mark is read.

        Args:
            first: It is the first of a text; some tokenizers begin with a blank there.
        """
        ids = self._reader.encode(text if first else f"{PRIVATE}{text}", add_special_tokens=False)
        return ids.ids[0 if first else 1 :]

    @cached_property
    def _reader(self) -> Any:
        """The same tokenizer, blind to marks, that knows a private one for what stands before."""
        from tokenizers import AddedToken, Tokenizer  # noqa: PLC0415 - slow to import

        if self.backend is None:
            raise AtlasError(
                "a text contains the name of a special token, and only a fast tokenizer "
                "(tokenizer.json) can read that as text; leave such texts out"
            )
        reader = Tokenizer.from_str(self.backend.to_str())
        reader.no_truncation()
        reader.no_padding()
        reader.add_special_tokens(list(self.names))
        reader.encode_special_tokens = True
        reader.add_tokens([AddedToken(PRIVATE, normalized=False)])
        return reader


_known: WeakKeyDictionary[Any, dict[str, _Marks]] = WeakKeyDictionary()
"""Every text asks."""


def _marks(tokenizer: PreTrainedTokenizerBase, given: Mapping[str, Any] = NOTHING) -> _Marks:
    known = _known.setdefault(tokenizer, {})
    key = repr(sorted(given.items()))
    marks = known.get(key)
    if marks is None or marks.template != tokenizer.chat_template:
        marks = known[key] = _find_marks(tokenizer, given)
    return marks


def _find_marks(tokenizer: PreTrainedTokenizerBase, given: Mapping[str, Any]) -> _Marks:
    added = tokenizer.added_tokens_decoder
    special = {*tokenizer.all_special_ids, *(id for id, token in added.items() if token.special)}
    end, shape = None, Shape()
    if tokenizer.chat_template:
        shape = _shape(tokenizer, given)
        turn = _ids(tokenizer, shape.fit([_ASKED, _ANSWERED]), given)
        asked = _ids(tokenizer, shape.fit([_ASKED]), given, opened=True)
        turn = turn[_num_shared(turn, asked) :]
        end = next((id for id in reversed(turn) if id in special or id in added), None)
        # Of several turns: some templates write more than the turn's marks around the last one.
        several = _ids(tokenizer, shape.fit([_ASKED, _ANSWERED, _ASKED]), given)
        special.update(several, () if end is None else (end,))
    names = {str(token): id for id, token in added.items() if id in special}
    longest_first = sorted(map(re.escape, names), key=len, reverse=True)
    return _Marks(
        template=tokenizer.chat_template,
        shape=shape,
        names=names,
        pattern=re.compile("|".join(longest_first) or "(?!)"),
        end=end,
        backend=getattr(tokenizer, "backend_tokenizer", None),
    )


def _shape(tokenizer: PreTrainedTokenizerBase, given: Mapping[str, Any]) -> Shape:
    def text(messages: list[dict[str, Any]]) -> str:
        made: Any = tokenizer.apply_chat_template(messages, tokenize=False, **given)
        return made

    shape = find_shape(text)
    if shape is None:
        raise AtlasError(
            f"the chat template of '{tokenizer.name_or_path}' writes nothing of what a user says; "
            "mend chat_template.jinja, or use another model's"
        )
    return shape


def _ids(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, Any]],
    given: Mapping[str, Any],
    *,
    opened: bool = False,
) -> list[int]:
    ids: Any = tokenizer.apply_chat_template(
        messages, add_generation_prompt=opened, tokenize=True, return_dict=False, **given
    )
    return list(ids)


def _num_shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many of the first ids are the same."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
