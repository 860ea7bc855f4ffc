"""Which model a name stands for now: a digest that changes when what is there changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from huggingface_hub import constants

from atlas.machine.shipped import model_path
from atlas.models.manifest import MANIFEST
from atlas.models.whole import adapter_base
from atlas.run.inputs import digest


def model_digest(name: str | Path) -> str:
    """Return the SHA-256 of a model's files, an adapter's with those of its base.

    A folder that Atlas wrote is known by its manifest, which holds the digests of the others; a
    model of the hub by the revision in the hub's cache.

    Args:
        name: A folder, a hub id or the name of a shipped model; "" where none of them is there.
    """
    files = list(_files(Path(model_path(name))))
    return digest(files) if files else ""


def model_digests(names: Mapping[str, str | None]) -> dict[str, str]:
    """Return key -> digest of the model that it names, for keys that name one."""
    return {key: model_digest(name) for key, name in names.items() if name}


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    if not place.is_dir():
        revision = Path(constants.HF_HUB_CACHE) / f"models--{str(place).replace('/', '--')}"
        yield from [revision / "refs" / "main"] if (revision / "refs" / "main").is_file() else []
        return
    if (place / MANIFEST).is_file():
        yield place / MANIFEST
    else:
        yield from sorted(file for file in place.iterdir() if file.is_file())
    base = adapter_base(place)
    if base is not None:
        yield from _files(Path(model_path(base)))
