"""What the student and the teacher are asked: sets of text files, and how their blanks are filled.

Input: a kind of prompt and the values of its placeholders. Output: chat messages.

- ``baseline.txt``: the student alone. Placeholder: ``{task}``.
- ``approach.txt``: the probe, how the student would go about it. ``{task}``.
- ``attempt.txt``: the student with a teaching. ``{task}``, ``{teaching}``.
- ``teaching.txt``: the teacher. ``{task}``; it may show ``{approach}``, and ``{alone}``, what the
  student wrote without a teacher; and of a recorded session its ``{dossier}``, the ``{persona}``
  in use and the probe's ``{evidence}``.
- ``next_step.txt``: the teacher again, in a recorded session of several steps. ``{output}`` of the
  student so far; it may show the ``{step}`` to come.
- ``review.txt``: the teacher reads an attempt. ``{task}``, ``{attempt}``.
- ``next_review.txt``: the teacher again, on what came of what it said. ``{attempt}``.
- ``revise.txt``: the student again, after its attempt. ``{task}``, ``{teaching}``; it may show the
  ``{attempt}``.
- ``tools.txt``: behind what the student is asked, where it can't be told of its tools otherwise.
  ``{tools}``; it may show in how many ``{turns}`` it has to be done.
- ``tool_result.txt``: the student again, after its call. ``{output}``, which is quoted, and the
  ``{teaching}`` where there is one at every step.

``teacher.yaml`` and ``student.yaml`` say what else belongs to speaking with them:
``chat_template_kwargs``, and the teacher's ``teaching_tag``.

Each prompt that begins a dialogue may have a system prompt beside it, ``KIND.system.txt``, with the
same placeholders; ``next_step``, ``next_review``, ``tools`` and ``tool_result`` begin none. A
paragraph whose placeholders all stay empty is left out. Lines ``--- assistant ---`` and ``--- user
---`` begin another turn, for examples and for what was said before.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

Role = Literal["teacher", "student"]
PromptKind = Literal[
    "baseline",
    "approach",
    "attempt",
    "teaching",
    "next_step",
    "review",
    "next_review",
    "revise",
    "tools",
    "tool_result",
]
Message = dict[str, str]

TEACHERS: Final = frozenset[PromptKind]({"teaching", "next_step", "review", "next_review"})
"""The kinds that a teacher reads; the others are a student's."""
STUDENTS: Final = frozenset[PromptKind](
    {"baseline", "approach", "attempt", "revise", "tools", "tool_result"}
)
WITHIN: Final = frozenset[PromptKind]({"next_step", "next_review", "tools", "tool_result"})
"""The kinds that are asked in the middle of a dialogue, where no system prompt can stand."""
REQUIRED: Final[Mapping[PromptKind, frozenset[str]]] = {
    "baseline": frozenset({"task"}),
    "approach": frozenset({"task"}),
    "attempt": frozenset({"task", "teaching"}),
    "teaching": frozenset({"task"}),
    "next_step": frozenset({"output"}),
    "review": frozenset({"task", "attempt"}),
    "next_review": frozenset({"attempt"}),
    "revise": frozenset({"task", "teaching"}),
    "tools": frozenset({"tools"}),
    "tool_result": frozenset({"output", "teaching"}),
}
"""Placeholders that a prompt must have."""
OPTIONAL: Final[Mapping[PromptKind, frozenset[str]]] = {
    "teaching": frozenset({"approach", "alone", "dossier", "persona", "evidence"}),
    "next_step": frozenset({"step"}),
    "revise": frozenset({"attempt"}),
    "tools": frozenset({"turns"}),
}
"""Placeholders that it may have."""

SETTINGS: Final[Mapping[Role, str]] = {"teacher": "teacher.yaml", "student": "student.yaml"}
"""What else belongs to speaking with a model -> the file that says it."""

_BLANK = re.compile(r"\{([a-z_]+)\}")
_GAP = re.compile(r"\n(?:[ \t]*\n)+")
_TURN = re.compile(r"^--- (user|assistant) ---\n", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompts:
    """A set of prompts, whole or in part.

    Example:
        >>> asked = Prompts(texts={"baseline.txt": "{task} Answer briefly."})
        >>> asked.render("baseline", task="1 + 1?")
        [{'role': 'user', 'content': '1 + 1? Answer briefly.'}]
    """

    texts: Mapping[str, str]
    """Name of a file -> its text."""

    def render(self, kind: PromptKind, **values: str) -> list[Message]:
        """Return the messages of one prompt.

        All blanks are filled in one pass, so that braces inside a task or a teaching stay as they
        are; one that may be there and has no value stays empty.

        Raises:
            KeyError: A value is missing.
        """
        missing = REQUIRED[kind] - values.keys()
        if missing:
            raise KeyError(f"prompt '{kind}' lacks {', '.join(sorted(missing))}")
        system, user = system_file(kind), user_file(kind)
        messages: list[Message] = []
        if system in self.texts:
            messages.append({"role": "system", "content": _filled(self.texts[system], values)})
        messages += [
            {"role": role, "content": _filled(text, values)}
            for role, text in turns_of(self.texts[user])
        ]
        return messages

    def has_blank(self, kind: PromptKind, name: str) -> bool:
        """Tell whether a prompt shows what the placeholder ``name`` stands for."""
        both = (self.texts.get(system_file(kind), ""), self.texts[user_file(kind)])
        return any(name in blanks_of(text) for text in both)

    def only(self, kinds: Collection[PromptKind]) -> Prompts:
        """Return the prompts of these kinds."""
        names = {name for kind in kinds for name in (user_file(kind), system_file(kind))}
        roles: set[Role] = {"teacher" if kind in TEACHERS else "student" for kind in kinds}
        names |= {SETTINGS[role] for role in roles}
        return Prompts(texts={name: text for name, text in self.texts.items() if name in names})

    def settings(self, role: Role) -> Mapping[str, Any]:
        """Return what else belongs to speaking with a model, by key."""
        from atlas.yaml_file import parse_yaml  # noqa: PLC0415 - slow to import

        return parse_yaml(self.texts.get(SETTINGS[role], ""), SETTINGS[role])

    def with_settings(self, role: Role, **given: Any) -> Prompts:
        """Return the same with other settings; None leaves one as it is."""
        before = self.settings(role)
        after = {**before, **{name: value for name, value in given.items() if value is not None}}
        if after == before:
            return self
        return Prompts(texts={**self.texts, SETTINGS[role]: json.dumps(after) + "\n"})

    def template_kwargs(self, role: Role) -> Mapping[str, Any]:
        """Return what the chat template of a model is given besides messages."""
        return self.settings(role).get("chat_template_kwargs") or {}

    def over(self, others: Prompts) -> Prompts:
        """Return these prompts, and of the others what isn't here.

        A prompt comes with its own system prompt or with none; a system prompt alone takes the
        place of the other's.
        """
        beaten = {system_file(kind) for kind in kinds_of_all() if user_file(kind) in self.texts}
        below = {name: text for name, text in others.texts.items() if name not in beaten}
        return Prompts(texts={**below, **self.texts})

    def files(self) -> dict[str, str]:
        """Return what a run or a model folder keeps of them, by path."""
        return {f"{FOLDER}/{name}": text for name, text in self.texts.items()}

    @property
    def digest(self) -> str:
        """A hash of the texts."""
        return hashlib.sha256(json.dumps(sorted(self.texts.items())).encode()).hexdigest()[:16]


FOLDER: Final = "prompts"
"""Where a run or a model folder keeps its prompts."""


def kinds_of_all() -> tuple[PromptKind, ...]:
    """Return all kinds of prompts."""
    return get_args(PromptKind)


def user_file(kind: PromptKind) -> str:
    """Return the name of the file that holds the user's message."""
    return f"{kind}.txt"


def system_file(kind: PromptKind) -> str:
    """Return the name of the file that holds the system prompt."""
    return f"{kind}.system.txt"


def blanks_of(text: str) -> frozenset[str]:
    """Return the names of the placeholders in a text."""
    return frozenset(_BLANK.findall(text))


def turns_of(text: str) -> list[tuple[str, str]]:
    """Return who says what in the text of a file; it begins with the user.

    Example:
        >>> turns_of("1 + 1?\\n--- assistant ---\\n2\\n--- user ---\\n{task}")
        [('user', '1 + 1?\\n'), ('assistant', '2\\n'), ('user', '{task}')]
    """
    first, *rest = _TURN.split(text)
    return [("user", first), *zip(rest[::2], rest[1::2], strict=True)]


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Fill the blanks of a text; paragraphs that have some, and all of them empty, go."""
    kept = [
        paragraph
        for paragraph in _GAP.split(text.strip("\n"))
        if not (names := blanks_of(paragraph)) or any(values.get(name) for name in names)
    ]
    return _BLANK.sub(lambda blank: values.get(blank[1], ""), "\n\n".join(kept))
