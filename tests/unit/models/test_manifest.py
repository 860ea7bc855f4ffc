"""A folder's list of its files, read as something that others may have written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.models.manifest import is_whole, refuse_damaged


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {"a.json": "{}", "model.safetensors": "weights", "state.pt": "state"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    list_files(tmp_path, {n: hashlib.sha256(t.encode()).hexdigest() for n, t in files.items()})
    return tmp_path


def list_files(folder: Path, entries: object) -> None:
    (folder / "manifest.json").write_text(json.dumps(entries))


def test_a_folder_as_it_was_made_is_whole(folder: Path) -> None:
    assert is_whole(folder)
    refuse_damaged(folder)


def test_a_change_is_told_by_its_file(folder: Path) -> None:
    refuse_damaged(folder)
    (folder / "a.json").write_text("[]")
    assert not is_whole(folder)
    with pytest.raises(AtlasError, match=r"a\.json has changed since manifest\.json .*copy the"):
        refuse_damaged(folder, weights=False)
    (folder / "a.json").unlink()
    with pytest.raises(AtlasError, match=r"a\.json is gone since"):
        refuse_damaged(folder)


def test_weights_are_passed_over_where_only_the_rest_is_read(folder: Path) -> None:
    (folder / "model.safetensors").write_text("weighted")
    refuse_damaged(folder, weights=False)
    with pytest.raises(AtlasError, match=r"model\.safetensors has changed"):
        refuse_damaged(folder)
    (folder / "model.safetensors").unlink()  # where others are there, it isn't missed
    refuse_damaged(folder)
    assert not is_whole(folder)


def test_the_state_of_a_training_is_another_readers(folder: Path) -> None:
    (folder / "state.pt").unlink()
    refuse_damaged(folder)
    assert not is_whole(folder)


@pytest.mark.parametrize("foreign", [{}, {"version": 1, "files": ["a"]}, {"a": None}])
def test_a_file_of_that_name_may_be_anothers(folder: Path, foreign: object) -> None:
    list_files(folder, foreign)
    refuse_damaged(folder)
    assert not is_whole(folder)


@pytest.mark.parametrize(
    "entries",
    [
        [1],
        {"a.json": "0" * 64, "model.safetensors": 5},
        {"../secret": "0" * 64},
        {"/dev/zero": "0" * 64},
    ],
)
def test_a_list_that_cannot_be_is_refused(folder: Path, entries: object) -> None:
    list_files(folder, entries)
    assert not is_whole(folder)
    with pytest.raises(AtlasError, match=r"manifest\.json can't be read"):
        refuse_damaged(folder)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\udcff"])
def test_a_list_that_is_no_json_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text, errors="surrogateescape")
    assert not is_whole(folder)
    with pytest.raises(AtlasError, match=r"manifest\.json can't be read"):
        refuse_damaged(folder)


def test_a_device_in_a_files_place_is_not_read(folder: Path) -> None:
    (folder / "a.json").unlink()
    (folder / "a.json").symlink_to("/dev/zero")
    assert not is_whole(folder)
    with pytest.raises(AtlasError, match=r"a\.json has changed"):
        refuse_damaged(folder)
