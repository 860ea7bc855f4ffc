"""Which prompts belong to a model: those that lie with it, or the set that is meant for its kind.

Input: the key ``prompts``, the models of a teacher and a student. Output: `Prompts`. Of each kind,
first found: a folder that the key names; ``prompts/`` in the teacher's folder, with which it was
trained; for the student's kinds ``prompts/`` in the student's folder; the usual set of who reads
it. That is ``plain`` for models with the chat template of the shipped one, which they come from or
are made like, and ``chat`` for all others, whoever trained them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from atlas.config.parts.prompts import PromptsConfig
from atlas.config.parts.sampling import DialogueConfig
from atlas.machine.hub import local_files_only
from atlas.machine.shipped import SHIPPED, model_path
from atlas.models.checkpoints import load_tokenizer
from atlas.models.whole import adapter_base
from atlas.prompts import FOLDER, STUDENTS, TEACHERS, Prompts, Role
from atlas.prompts.folder import AUTO, named_prompts, read_prompts, shipped_prompts
from atlas.prompts.renderer import Renderer

ELSEWHERE: Final = ""
"""In place of a student's folder, where it answers elsewhere: its prompts are those for any chat
model."""
_TEMPLATE = "chat_template.jinja"
_SHIPPED = SHIPPED["base"]
warn = logging.getLogger(__name__).warning


def load_renderer(
    folder: str | Path,
    prompts: Prompts,
    role: Role = "teacher",
    *,
    say: Callable[[str], None] = warn,
) -> Renderer:
    """Return how a model is spoken to.

    Args:
        folder: Model folder, hub id or name of a shipped model.
        prompts: That it reads.
        role: Whose settings in them are its own.
        say: Told where the prompts don't reach it as they are written.

    Raises:
        AtlasError: Its tokenizer or its chat template can't be used.
    """
    given = prompts.template_kwargs(role)
    renderer = Renderer(tokenizer=load_tokenizer(folder), prompts=prompts, template_kwargs=given)
    if renderer.folds_system_prompts:
        say(
            f"the chat template of {folder} has no system role: system prompts begin the user's "
            "message"
        )
    return renderer


def configured_prompts(
    config: PromptsConfig,
    *,
    teacher: str | Path,
    student: str | Path | None = None,
    others: Iterable[str] = (),
) -> Prompts:
    """Return the prompts of a configuration, with what it gives to the chat templates.

    What it doesn't say is as in the training of the teacher, see `chosen_prompts`.

    Raises:
        AtlasError: A file isn't a prompt.
    """
    chosen = chosen_prompts(config.prompts, teacher=teacher, student=student, others=others)
    given, tag = config.chat_template_kwargs, None
    learns = given  # the model itself, where nobody else is a student
    if isinstance(config, DialogueConfig):
        tag = config.teaching_tag
        learns = given if student is None else config.student_chat_template_kwargs
    chosen = chosen.with_settings("teacher", chat_template_kwargs=given, teaching_tag=tag)
    return chosen.with_settings("student", chat_template_kwargs=learns)


def chosen_prompts(
    choice: str,
    *,
    teacher: str | Path,
    student: str | Path | None = None,
    others: Iterable[str] = (),
) -> Prompts:
    """Return the prompts of a teacher and a student.

    Args:
        choice: ``auto``, the name of a set that ships, or a folder with some of the files.
        teacher: Folder or hub id.
        student: Folder or hub id, or `ELSEWHERE`; None where nobody is taught, or nobody knows who
            will be: the teacher's model then reads a student's prompts, too.
        others: More teachers of the student: where this one was trained without any, it is asked
            as in their training.

    Raises:
        AtlasError: A file isn't a prompt.
    """
    learner = teacher if student is None else student
    chosen = _own(teacher)
    for model in (*others, learner):
        chosen = chosen.over(_own(model).only(STUDENTS))
    chosen = chosen.over(_usual(teacher).only(TEACHERS)).over(_usual(learner).only(STUDENTS))
    return chosen if choice == AUTO else named_prompts(choice).over(chosen)


def _own(model: str | Path) -> Prompts:
    """Return the prompts that lie with a model; none where it has none."""
    if model == ELSEWHERE:
        return Prompts(texts={})
    folder = _folder(model) / FOLDER
    if folder.is_dir():
        return read_prompts(folder)
    base = adapter_base(model)
    return Prompts(texts={}) if base is None else _own(base)


def _usual(model: str | Path) -> Prompts:
    """Return the set for a model that says nothing of prompts."""
    if model == ELSEWHERE:
        return shipped_prompts("chat")
    base = adapter_base(model)
    if base is not None:
        return _usual(base)
    return shipped_prompts("chat" if _template(_folder(model)) != _template(_SHIPPED) else "plain")


def _template(folder: Path) -> bytes | None:
    file = folder / _TEMPLATE
    return file.read_bytes() if file.is_file() else None


def _folder(model: str | Path) -> Path:
    """Return where a model lies here; of one on the hub, its prompts and chat template."""
    place = model_path(model)
    if Path(place).is_dir():
        return Path(place)
    try:
        here = snapshot_download(
            place,
            allow_patterns=[f"{FOLDER}/*", _TEMPLATE],
            local_files_only=local_files_only(place),
        )
    except (HfHubHTTPError, LocalEntryNotFoundError):
        return Path(place)  # who loads the model says what is wrong
    return Path(here)
