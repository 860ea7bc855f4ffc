"""Sets of prompts that are read: those that ship, and folders of one's own.

``plain`` is what the shipped base model was trained on; ``chat`` is for real chat models; ``small``
is for those of a few hundred million weights, which answer a short question and follow no
instruction: the student is shown an example. ``small_examples`` shows some to the teacher too, who
knows none before its training: collect with it, and train with ``small``, where every prompt is a
third as long. A folder has some of their files, each under its own name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from atlas.errors import AtlasError
from atlas.prompts import (
    OPTIONAL,
    REQUIRED,
    SETTINGS,
    WITHIN,
    PromptKind,
    Prompts,
    blanks_of,
    kinds_of_all,
    system_file,
    turns_of,
    user_file,
)
from atlas.yaml_file import parse_yaml

AUTO: Final = "auto"
SHIPPED: Final = ("plain", "chat", "small", "small_examples")
# Whose files stand where one has none of its own.
_ELSE: Final[dict[str, str]] = {"small_examples": "small"}
_NAMES: Final[dict[str, PromptKind]] = {
    **{user_file(kind): kind for kind in kinds_of_all()},
    **{system_file(kind): kind for kind in kinds_of_all() if kind not in WITHIN},
}
_LONGEST = 100_000


def named_prompts(choice: str) -> Prompts:
    """Return the set that ships under a name, or that of a folder.

    Raises:
        AtlasError: As for `read_prompts`.
    """
    return shipped_prompts(choice) if choice in SHIPPED else read_prompts(Path(choice))


@cache
def shipped_prompts(name: str) -> Prompts:
    """Return one of `SHIPPED`."""
    own = read_prompts(Path(__file__).parent / name)
    return own.over(shipped_prompts(_ELSE[name])) if name in _ELSE else own


def read_prompts(folder: Path) -> Prompts:
    """Return the prompts in a folder.

    Raises:
        AtlasError: There is no such folder, none of its files is a prompt, or one of them isn't:
            its name is no prompt's, it is empty, no UTF-8, lacks a placeholder or has one that
            nothing fills.
    """
    if not folder.is_dir():
        raise AtlasError(
            f"prompts={folder} is no folder; give one with prompts, or auto, {', '.join(SHIPPED)}"
        )
    files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    if not files:
        raise AtlasError(f"{folder} holds no prompt; {_known()}")
    texts = {file.name: _read(file) for file in files}
    for kind in kinds_of_all():
        if user_file(kind) in texts:
            found = blanks_of(texts[user_file(kind)] + texts.get(system_file(kind), ""))
            missing = ", ".join(f"{{{name}}}" for name in sorted(REQUIRED[kind] - found))
            if missing:
                raise AtlasError(f"{folder / user_file(kind)} lacks {missing}; write it in")
            _check_turns(folder / user_file(kind), texts[user_file(kind)])
    return Prompts(texts=texts)


def _read(file: Path) -> str:
    kind = _NAMES.get(file.name)
    if not (kind or file.name in SETTINGS.values()) or not file.is_file():
        raise AtlasError(f"{file} is no prompt; {_known()}")
    try:
        with file.open("rb") as opened:
            content = opened.read(_LONGEST + 1)
        if len(content) > _LONGEST:
            raise AtlasError(f"{file} is longer than {_LONGEST:,} bytes, which no prompt is")
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise AtlasError(f"{file} isn't UTF-8 at byte {error.start}; save it as UTF-8") from error
    except OSError as error:
        raise AtlasError(f"{file} can't be read: {error.strerror}") from error
    if not text.strip():
        raise AtlasError(f"{file} is empty; write the prompt, or delete the file")
    if kind is None:
        _check_settings(file, parse_yaml(text, str(file)))
        return text
    known = REQUIRED[kind] | OPTIONAL.get(kind, frozenset())
    unknown = sorted(blanks_of(text) - known)
    if unknown:
        can = ", ".join(f"{{{name}}}" for name in sorted(known))
        raise AtlasError(f"{file} has {{{unknown[0]}}}, which nothing fills; there are: {can}")
    return text


def _check_turns(file: Path, text: str) -> None:
    turns = turns_of(text)
    in_turn = all(role == ("user", "assistant")[n % 2] for n, (role, _) in enumerate(turns))
    if not in_turn or len(turns) % 2 == 0 or not all(said.strip() for _, said in turns):
        raise AtlasError(
            f"{file}: user and assistant must take turns, the user first and last, and none of "
            "the turns be empty"
        )


def _check_settings(file: Path, says: Mapping[str, Any]) -> None:
    given, tag = says.get("chat_template_kwargs", {}), says.get("teaching_tag", "a")
    plain = isinstance(given, Mapping) and all(
        isinstance(value, str | bool | int | float) for value in given.values()
    )
    named = isinstance(tag, str) and tag.isidentifier()
    keys = {"chat_template_kwargs", *(["teaching_tag"] if file.name == SETTINGS["teacher"] else ())}
    if not (plain and named and keys.issuperset(says)):
        raise AtlasError(
            f"{file} must say {' or '.join(sorted(keys))} and nothing else, as in "
            "`chat_template_kwargs: {enable_thinking: false}`"
        )


def _known() -> str:
    return f"the names are {', '.join((*_NAMES, *SETTINGS.values()))}"
