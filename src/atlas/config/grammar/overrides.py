"""Configuration, the command line: words -> choices of whole files, and settings of single keys.

Understood, with ``data`` for any group and ``beta`` for any key::

    data=runtime_pg   /data=runtime_pg   data@_global_=runtime_pg   +data=runtime_pg      a choice
    "+override /data@_global_: runtime_pg"   (the guide's spelling, quoted or not)        a choice
    beta=0.1   +beta=0.1   trainer.beta=0.1   grpo.beta=0.1 for grpo_beta                 a setting
    make_dataset_fn.export_path=a.jsonl   data.export_path=a.jsonl for export_path        a setting
    gradient_checkpointing   +gradient_checkpointing                                      true
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.types import Quote, QuotedString

from atlas.config.grammar.nested import JUDGES, NESTED, REWARD, flat_name
from atlas.config.grammar.schema import KeyInfo, nearest
from atlas.errors import AtlasError

GROUPS = ("model", "data", "trainer", "trainer/reward")
"""Folders under ``configs/`` that a run chooses one file from."""

_CHOICE = re.compile(rf"^\+{{0,2}}/?({'|'.join(GROUPS)})(?:@_global_)?\s*[=:]\s*([\w./-]+)$")
_KEY = re.compile(r"^\+{0,2}([A-Za-z_][\w.]*)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Overrides:
    """The command line, understood."""

    choices: Mapping[str, str]
    """Group -> name of its file. The last word on a group wins, as it does for a key."""
    settings: Mapping[str, str]
    """Key -> value as Hydra's grammar writes it."""
    origins: Mapping[str, str]
    """Key -> the words that set it, for messages."""


def parse_overrides(words: Sequence[str], keys: Mapping[str, KeyInfo]) -> Overrides:
    """Understand the words after the YAML file.

    Raises:
        AtlasError: A word is no override, or names a key that the job doesn't have.
    """
    settings: dict[str, str] = {}
    origins: dict[str, str] = {}
    for word in _joined(words):
        if _CHOICE.match(word):
            continue
        name, equals, value = word.partition("=")
        match = _KEY.match(name.strip())
        if not match:
            raise AtlasError(f"override '{word}' isn't understood; write key=value, as in seed=1")
        info = _find(match[1], keys)
        if not equals and info.base is not bool:
            raise AtlasError(f"override '{word}' has no value; write {info.name}=value")
        settings[info.name] = _in_hydra_grammar(info, value.strip() if equals else "true")
        origins[info.name] = "the command line"
    return Overrides(choices=chosen_files(words), settings=settings, origins=origins)


def chosen_files(words: Sequence[str]) -> dict[str, str]:
    """Return the choices among the words, whichever job they are for: group -> name."""
    choices = [_CHOICE.match(word) for word in _joined(words)]
    return {choice[1]: choice[2] for choice in choices if choice}


def _joined(words: Sequence[str]) -> list[str]:
    """Join what the shell split: ``+override``, ``/data@_global_:``, ``runtime_pg``."""
    joined = re.sub(r"(?:^|\0)\+?override[\s\0]+([^\s\0]+:)[\s\0]+", r"\0\1 ", "\0".join(words))
    return [word.strip() for word in joined.split("\0") if word.strip()]


def _find(name: str, keys: Mapping[str, KeyInfo]) -> KeyInfo:
    """Return the key that ``name`` means: flat, or with a group's or a job's name before it."""
    group, dot, rest = name.partition(".")
    flat = rest if dot and group in GROUPS else name.replace(".", "_")
    if dot and group == NESTED:
        flat = flat_name(rest)
    if name == f"{REWARD}.config_path":
        flat = JUDGES
    if flat not in keys:
        raise AtlasError(f"unknown key '{name}' on the command line{nearest(flat, keys)}")
    return keys[flat]


def _in_hydra_grammar(info: KeyInfo, value: str) -> str:
    """Quote a value, so that URLs and paths with any character reach the key as they are."""
    if info.many:
        return value if value.startswith("[") else f"[{value}]"
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    return QuotedString(text=value, quote=Quote.single).with_quotes()
