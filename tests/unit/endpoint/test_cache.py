from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import atlas
from atlas.endpoint.cache import AnswerCache, content_key
from atlas.errors import AtlasError

WRITER = """
import sys
from pathlib import Path
from atlas.endpoint.cache import AnswerCache
cache = AnswerCache(Path(sys.argv[1]))
for i in range(200):
    cache.put(f"shared-{i}", sys.argv[2])
    cache.put(f"{sys.argv[2]}-{i}", str(i))
"""


def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cache.sqlite"
    cache = AnswerCache(path)
    assert cache.get("a") is None
    cache.put("a", "one")
    cache.put("a", "two")
    cache.close()
    assert AnswerCache(path).get("a") == "one"


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    env = {"PYTHONPATH": str(Path(atlas.__file__).parents[1])}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], env=env)
        for name in ("x", "y")
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    cache = AnswerCache(path)
    assert all(cache.get(f"shared-{i}") in ("x", "y") for i in range(200))
    assert all(cache.get(f"{name}-{i}") == str(i) for name in "xy" for i in range(200))


def test_a_file_that_is_no_cache_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are my notes, and they are long enough to be read as a database. " * 9)
    with pytest.raises(AtlasError, match=r"cache .*notes.txt can't be used .* cache_path"):
        AnswerCache(path).get("a")
    assert path.read_text().startswith("These are my notes")


def test_no_path_keeps_nothing() -> None:
    cache = AnswerCache(None)
    cache.put("a", "one")
    assert cache.get("a") is None


def test_a_key_depends_on_the_content_alone() -> None:
    assert content_key({"a": 1, "b": "ü"}) == content_key({"b": "ü", "a": 1})
    assert content_key(["a", "b"]) != content_key(["ab"])
    assert content_key([0.5]) != content_key([0.8])
