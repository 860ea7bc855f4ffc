"""What a run was begun with: its data and start model, by their digests.

Input: a configuration. Output: ``inputs.json`` in the run directory; or a refusal, where a run goes
on and its data is not what it was. Steps are drawn from the data by place, so a run that went on
with other data would be neither the old run nor a new one, and prompts that it has learned from
could lie in the new validation set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from atlas.config.ranked import AUTO, RankedConfig
from atlas.errors import AtlasError
from atlas.from_scratch.data.text import corpus_files
from atlas.json_file import read_json
from atlas.machine.shipped import model_path
from atlas.models.checkpoints import MANIFEST
from atlas.run.files import write_atomic

_KEYS = ("train_data", "validation_data", "corpus", "tokenizer", "model_name_or_path")


def digests_of(config: RankedConfig) -> dict[str, str]:
    """Return the SHA-256 of what each key names, for the keys that name something on this disk.

    Raises:
        AtlasError: The corpus isn't there.
    """
    named = {key: getattr(config, key) for key in _KEYS}
    return {
        key: _digest(files)
        for key, name in named.items()
        if name not in (None, AUTO) and (files := list(_files(key, name)))
    }


def keep_inputs(config: RankedConfig, now: Mapping[str, str], path: Path) -> None:
    """Save the digests of a run; where some are saved already, insist that they are the same.

    Args:
        now: Its `digests_of`.

    Raises:
        AtlasError: Something has changed; it is named.
    """
    if not path.exists():
        write_atomic(path, json.dumps(now, indent=1) + "\n")
        return
    before = read_json(path)
    changed = [key for key in _KEYS if before.get(key) != now.get(key)]
    if changed:
        raise AtlasError(
            f"{' and '.join(f'{key} ({getattr(config, key)})' for key in changed)} changed since "
            f"{path.parent} was begun; bring back what it was, give another output_dir and "
            "model_dir, or start over with --fresh"
        )


def _files(key: str, name: str) -> Iterator[Path]:
    if key == "corpus":
        yield from corpus_files(name)
        return
    place = Path(model_path(name))
    if not place.is_dir():
        yield from [place] if place.is_file() else []
    elif (place / MANIFEST).is_file():
        yield place / MANIFEST  # it holds the digests of the others
    else:
        yield from sorted(file for file in place.iterdir() if file.is_file())


def _digest(files: list[Path]) -> str:
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            whole.update(hashlib.file_digest(content, "sha256").digest())
    return whole.hexdigest()
