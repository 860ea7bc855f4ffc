"""Configuration, the command line: words -> choices of whole files, and settings of single keys.

Understood, with ``data`` for any group and ``beta`` for any key::

    data=runtime_pg   /data=runtime_pg   data@_global_=runtime_pg   +data=runtime_pg      a choice
    "+override /data@_global_: runtime_pg"   (the guide's spelling, quoted or not)        a choice
    beta=0.1   +beta=0.1   trainer.beta=0.1   grpo.beta=0.1 for grpo_beta                 a setting
    make_dataset_fn.export_path=a.jsonl   data.export_path=a.jsonl for export_path        a setting
    gradient_checkpointing   +gradient_checkpointing                                      true
    chat_template_kwargs.enable_thinking=false                 one entry, besides those of files
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.config.grammar.nested import JUDGES, NESTED, REWARD, flat_name
from atlas.config.grammar.schema import NULL, KeyInfo, convert, nearest
from atlas.errors import AtlasError, printable
from atlas.masking import mask_secrets
from atlas.yaml_file import UNPRINTABLE, parse_yaml

GROUPS = ("model", "data", "trainer", "trainer/reward")
"""Folders under ``configs/`` that a run chooses one file from."""

_CHOICE = re.compile(rf"^\+{{0,2}}/?({'|'.join(GROUPS)})(?:@_global_)?\s*[=:]\s*([\w./-]+)$")
_KEY = re.compile(r"^\+{0,2}([A-Za-z_][\w.]*)$")
_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_ELEMENT = re.compile(rf"\s*({_QUOTED}|[^,]+)")
COMMAND_LINE = "the command line"


@dataclass(frozen=True, kw_only=True, slots=True)
class Overrides:
    """The command line, understood."""

    choices: Mapping[str, str]
    """Group -> name of its file. The last word on a group wins, as it does for a key."""
    settings: Mapping[str, Any]
    """Key -> value, as text, or a list of texts; a mapping of single entries, to be added."""


def parse_overrides(words: Sequence[str], keys: Mapping[str, KeyInfo]) -> Overrides:
    """Understand the words after the YAML file.

    Raises:
        AtlasError: A word is no override, or names a key that the job doesn't have.
    """
    settings: dict[str, Any] = {}
    for word in _joined(words):
        if _CHOICE.match(word):
            continue
        name, equals, value = word.partition("=")
        match = _KEY.match(name.strip())
        if not match or UNPRINTABLE.search(word):
            shown = mask_secrets(printable(word))
            raise AtlasError(f"override '{shown}' isn't understood; write key=value, as in seed=1")
        owner, _, entry = match[1].rpartition(".")
        whole = keys.get(_flat(owner))
        if whole and whole.base is dict and equals:
            others = convert(whole, settings.get(whole.name)) or {}
            settings[whole.name] = {**others, **parse_yaml(f"{entry}: {value}", COMMAND_LINE)}
            continue
        info = _find(match[1], keys)
        if not equals and info.base is not bool:
            raise AtlasError(f"override '{word}' has no value; write {info.name}=value")
        settings[info.name] = _value(info, value.strip() if equals else "true")
    return Overrides(choices=chosen_files(words), settings=settings)


def chosen_files(words: Sequence[str]) -> dict[str, str]:
    """Return the choices among the words, whichever job they are for: group -> name."""
    choices = [_CHOICE.match(word) for word in _joined(words)]
    return {choice[1]: choice[2] for choice in choices if choice}


def _joined(words: Sequence[str]) -> list[str]:
    """Join what the shell split: ``+override``, ``/data@_global_:``, ``runtime_pg``."""
    joined = re.sub(r"(?:^|\0)\+?override[\s\0]+([^\s\0]+:)[\s\0]+", r"\0\1 ", "\0".join(words))
    return [word.strip() for word in joined.split("\0") if word.strip()]


def _find(name: str, keys: Mapping[str, KeyInfo]) -> KeyInfo:
    """Return the key that ``name`` means.

    Raises:
        AtlasError: The job has none.
    """
    flat = _flat(name)
    if flat not in keys:
        raise AtlasError(f"unknown key '{name}' on the command line{nearest(flat, keys)}")
    return keys[flat]


def _flat(name: str) -> str:
    """Return a name without a group's or a job's before it."""
    group, dot, rest = name.partition(".")
    if name == f"{REWARD}.config_path":
        return JUDGES
    if dot and group == NESTED:
        return flat_name(rest)
    return rest if dot and group in GROUPS else name.replace(".", "_")


def _value(info: KeyInfo, text: str) -> str | list[str] | None:
    """Return a value without its quotes, so that any character reaches a key as it is."""
    if not info.many:
        return _unquoted(text)
    if info.optional and text.lower() in NULL:
        return None
    inner = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
    return [_unquoted(element.strip()) for element in _ELEMENT.findall(inner)]


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].replace(f"\\{text[0]}", text[0])
    return text
