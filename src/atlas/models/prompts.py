"""Which prompts belong to a model: those that lie with it, or the set that is meant for its kind.

Input: the key ``prompts``, the models of a teacher and a student. Output: `Prompts`. Of each kind,
first found: a folder that the key names; ``prompts/`` in the teacher's folder, with which it was
trained; for the student's kinds ``prompts/`` in the student's folder; the usual set of who reads
it. That is ``plain`` for models that Atlas wrote, the shipped one among them, and ``chat`` for all
others.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from atlas.machine.hub import local_files_only
from atlas.machine.shipped import SMOLLM2, model_path
from atlas.models.checkpoints import load_tokenizer
from atlas.models.manifest import MANIFEST, is_ours
from atlas.models.whole import adapter_base
from atlas.prompts import FOLDER, STUDENTS, TEACHERS, Prompts
from atlas.prompts.folder import AUTO, SHIPPED, named_prompts, read_prompts, shipped_prompts
from atlas.prompts.renderer import Renderer
from atlas.prompts.templates import NOTHING

_log = logging.getLogger(__name__)


def load_renderer(
    folder: str | Path, prompts: Prompts, template_kwargs: Mapping[str, Any] | None = None
) -> Renderer:
    """Return how a model is spoken to.

    Args:
        folder: Model folder, hub id or name of a shipped model.
        prompts: That it reads.
        template_kwargs: Given to its chat template.

    Raises:
        AtlasError: Its tokenizer or its chat template can't be used.
    """
    tokenizer = load_tokenizer(folder)
    renderer = Renderer(
        tokenizer=tokenizer, prompts=prompts, template_kwargs=template_kwargs or NOTHING
    )
    if renderer.folds_system_prompts:
        _log.warning(
            "the chat template of %s has no system role: system prompts begin the user's message",
            folder,
        )
    return renderer


def chosen_prompts(
    choice: str, *, teacher: str | Path, student: str | Path | None = None
) -> Prompts:
    """Return the prompts of a teacher and a student.

    Args:
        choice: ``auto``, ``plain``, ``chat``, or a folder with some of the files.
        teacher: Folder or hub id.
        student: Folder or hub id; None where nobody is taught, or nobody knows who will be: the
            teacher's model then reads a student's prompts, too.

    Raises:
        AtlasError: A file isn't a prompt.
    """
    if choice in SHIPPED:
        return shipped_prompts(choice)
    learner = teacher if student is None else student
    own, usual = _own(teacher), _usual(teacher).only(TEACHERS)
    chosen = own.over(_own(learner).only(STUDENTS)).over(usual)
    chosen = chosen.over(_usual(learner).only(STUDENTS))
    return chosen if choice == AUTO else named_prompts(choice).over(chosen)


def _own(model: str | Path) -> Prompts:
    """Return the prompts that lie with a model; none where it has none."""
    folder = _folder(model) / FOLDER
    if folder.is_dir():
        return read_prompts(folder)
    base = adapter_base(model)
    return Prompts(texts={}) if base is None else _own(base)


def _usual(model: str | Path) -> Prompts:
    """Return the set for a model that says nothing of prompts."""
    base = adapter_base(model)
    if base is not None:
        return _usual(base)
    pretrained = str(model) == SMOLLM2  # a folder that Atlas made, and didn't train
    return shipped_prompts("plain" if is_ours(_folder(model)) and not pretrained else "chat")


def _folder(model: str | Path) -> Path:
    """Return where a model lies here; of one on the hub, its prompts and manifest."""
    place = model_path(model)
    if Path(place).is_dir():
        return Path(place)
    try:
        here = snapshot_download(
            place,
            allow_patterns=[f"{FOLDER}/*", MANIFEST],
            local_files_only=local_files_only(place),
        )
    except (HfHubHTTPError, LocalEntryNotFoundError):
        return Path(place)  # who loads the model says what is wrong
    return Path(here)
