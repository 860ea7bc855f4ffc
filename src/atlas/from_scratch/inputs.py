"""What a model from random weights is made from, by digests of its data and of its start model.

Input: a configuration. Output: key -> SHA-256 of what the key names on this disk. A run goes on
only with the same: steps are drawn from the data by place, so with other data it would be neither
the old run nor a new one, and prompts that it has learned from could lie in the new validation set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from atlas.config.ranked import AUTO, RankedConfig
from atlas.from_scratch.data.text import corpus_files
from atlas.models.identity import model_digest
from atlas.run.inputs import digest

_DIGESTS: Mapping[str, Callable[[str], str]] = {
    "train_data": lambda name: digest([Path(name)]) if Path(name).is_file() else "",
    "validation_data": lambda name: digest([Path(name)]) if Path(name).is_file() else "",
    "corpus": lambda name: digest(corpus_files(name)),
    "tokenizer": model_digest,
    "model_name_or_path": model_digest,
}


def named_inputs(config: RankedConfig) -> dict[str, str]:
    """Return what the keys name that say what a run is made from."""
    named = {key: getattr(config, key) for key in _DIGESTS}
    return {key: name for key, name in named.items() if name not in (None, AUTO)}


def digests_of(config: RankedConfig) -> dict[str, str]:
    """Return the SHA-256 of what each key names, for the keys that name something on this disk.

    Raises:
        AtlasError: The corpus isn't there.
    """
    found = {key: _DIGESTS[key](name) for key, name in named_inputs(config).items()}
    return {key: value for key, value in found.items() if value}
