"""Chat templates, which are programs that came with a model: tried where they can do no harm.

`transformers` renders them in Jinja's sandbox, which keeps them from files and from Python's
insides; it doesn't keep them from looping, from taking all memory, or from failing. So each is
rendered once in a process of its own, with little time and memory, before a command begins.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import warnings
from collections.abc import Callable, Mapping
from functools import partial, wraps
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from atlas.errors import AtlasError, reason_of
from atlas.prompts.template_shape import Shape

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_P = ParamSpec("_P")
_R = TypeVar("_R")

NOTHING: Mapping[str, Any] = MappingProxyType({})
"""What a template is given besides messages, where nothing is."""
_SECONDS = 2
"""Of the processor, for a few short dialogues; real templates take milliseconds."""
_PATIENCE = 60
"""Seconds until a process that gets no processor is given up."""
_MEMORY = 1 << 30
"""Bytes that a rendering may take besides what the process has."""
_LONGEST = 1_000_000
"""Characters of a short dialogue as text."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FINE = b"fine"

_tried: dict[tuple[str, str, str], str] = {}
"""Template, the tokens and what else it is given -> what is wrong with it; nothing, mostly."""


def through_template(
    function: Callable[Concatenate[PreTrainedTokenizerBase, _P], _R],
) -> Callable[Concatenate[PreTrainedTokenizerBase, _P], _R]:
    """Let a function of a tokenizer use its chat template: tried before, and errors in one line."""

    @wraps(function)
    def guarded(tokenizer: PreTrainedTokenizerBase, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        given: Any = kwargs.get("given", NOTHING)
        check_template(tokenizer, given)
        try:
            return function(tokenizer, *args, **kwargs)
        except AtlasError:
            raise
        # A template raises what its expressions raise: ZeroDivisionError, OverflowError, …
        except Exception as error:
            raise AtlasError(_fails(tokenizer, reason_of(error))) from error

    return guarded


def check_template(tokenizer: PreTrainedTokenizerBase, given: Mapping[str, Any] = NOTHING) -> None:
    """Check that a tokenizer has a chat template that can be used.

    Args:
        tokenizer: Of a model.
        given: To the template besides messages.

    Raises:
        AtlasError: It has none, or several and none that is the default; or it fails, takes too
            long, or takes too much memory.
    """
    template = template_of(tokenizer)
    key = (template, str(sorted(tokenizer.special_tokens_map.items())), repr(sorted(given.items())))
    if key not in _tried:
        _tried[key] = trial(lambda: _short_dialogues(tokenizer, template, given))
    if _tried[key]:
        raise AtlasError(_fails(tokenizer, _tried[key]))


def template_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a tokenizer's chat template: its only one, or the one called default.

    Raises:
        AtlasError: It has none, or no default.
    """
    found: Any = tokenizer.chat_template
    name = tokenizer.name_or_path
    if not found:
        raise AtlasError(
            f"tokenizer of '{name}' has no chat template; use a chat model or add "
            "chat_template.jinja to its folder"
        )
    if isinstance(found, dict) and "default" not in found:
        raise AtlasError(
            f"tokenizer of '{name}' has the chat templates {', '.join(sorted(found))} and none "
            "that is the default; write the one to use to chat_template.jinja in its folder"
        )
    template = found["default"] if isinstance(found, dict) else found
    if not isinstance(template, str):
        raise AtlasError(f"tokenizer of '{name}' has a chat template that is no text")
    return template


def trial(render: Callable[[], str]) -> str:
    """Render in a process of its own, a copy of this one with little time and memory.

    Returns:
        What is wrong; nothing where it ended well.
    """
    read, write = os.pipe()
    with warnings.catch_warnings():
        # Other threads aren't there in the copy; it waits for none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            os.write(write, _limited(render)[:2000])
        finally:
            os._exit(0)
    os.close(write)
    try:
        ready, _, _ = select.select([read], [], [], _PATIENCE)
        said = os.read(read, 2000) if ready else b""
    finally:
        os.close(read)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not said:
        return f"it takes more than {_SECONDS} s, or more than {_MEMORY >> 30} GB"
    return "" if said == _FINE else said.decode(errors="replace")


def _limited(render: Callable[[], str]) -> bytes:
    has = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * _PAGE
    resource.setrlimit(resource.RLIMIT_AS, (has + _MEMORY, has + _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    try:
        length = len(render())
    except MemoryError:
        return f"it takes more than {_MEMORY >> 30} GB".encode()
    except Exception as error:
        return reason_of(error).encode()
    return _FINE if length <= _LONGEST else f"it writes {length:,} characters".encode()


def _short_dialogues(
    tokenizer: PreTrainedTokenizerBase, template: str, given: Mapping[str, Any]
) -> str:
    """Return as text what every command renders, and other dialogues, which may be refused."""

    def text(shape: Shape, *roles: str, opened: bool) -> str:
        messages = shape.fit([{"role": role, "content": "a"} for role in roles])
        found: Any = tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            add_generation_prompt=opened,
            tokenize=False,
            **given,
        )
        return found

    def needed(shape: Shape) -> str:
        return text(shape, "user", opened=True) + text(shape, "user", "assistant", opened=False)

    def optional(render: Callable[[], str]) -> str:
        try:
            return render()
        except MemoryError:
            raise
        except Exception:
            return ""

    # What takes parts alone may fail at text; of what fails at both, the reason is that of text.
    made = optional(lambda: needed(Shape(parts=True)))
    made += optional(lambda: needed(Shape())) if made else needed(Shape())
    for roles in (("user", "assistant", "user"), ("system", "user"), ("user", "user")):
        made += optional(partial(text, Shape(), *roles, opened=True))
    return made


def _fails(tokenizer: PreTrainedTokenizerBase, reason: str) -> str:
    return (
        f"the chat template of '{tokenizer.name_or_path}' fails: {reason}; mend "
        "chat_template.jinja (or chat_template in tokenizer_config.json), or use another model's"
    )
