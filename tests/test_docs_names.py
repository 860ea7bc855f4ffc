"""The names in the pages, held against the code: what a page calls by its name is there.

A name of the code stands beside its file in one form, ```derive_seed` of `run/seeding.py```, also
several before one file. Dotted names of the package resolve. Whatever else is spelt like a name is
a word of the code, its tests or its configuration.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path

import pytest
from tests.test_docs import ATLAS, PAGES, PLACES, ROOT, blocks, defined, names_in, spans

CODE = ("src", "tests", "configs", "scripts", "benchmarks", "trainers", "requirements")
ENDINGS = {".py", ".yaml", ".json", ".sh", ".sql", ".txt"}
THEIRS = {"NCCL_SOCKET_IFNAME"}
"""Names of other projects that stand in no code of ours."""

_NAMED = re.compile(r"((?:`\w+`(?:, | and | or ))*`\w+`) of `([\w./-]+\.py)`")
_OTHERWISE = re.compile(r"`([A-Za-z_]\w*)`(?: in | \()`([\w./-]+\.py)`")
_LIKE_A_NAME = re.compile(r"\w*(?:[^\W_]_[^\W_]|[a-z][A-Z])\w*", re.ASCII)


def wrong_names(text: str) -> list[str]:
    """Return names that the file beside them doesn't define, in another form, or dotted."""
    for body in blocks(text):
        text = text.replace(body, "")
    running = re.sub(r"(?<!\n)\n(?![\n|#-])", " ", text)
    found = []
    for names, path in _NAMED.findall(running):
        known = set().union(*map(definitions, _files(path)))
        found += [f"{n} of {path}" for n in re.findall(r"`(\w+)`", names) if n not in known]
    for name, path in _OTHERWISE.findall(running):
        found.append(f"{name} in {path}: write it as `{name}` of `{path}`")
    dotted = [span for span in spans(text) if re.fullmatch(r"atlas(\.\w+)+", span)]
    return found + [name for name in dotted if not _resolves(name)]


def unknown_words(text: str, known: Collection[str]) -> list[str]:
    """Return what is spelt like a name (``a_b``, ``aB``) and isn't known."""
    return [span for span in spans(text) if _LIKE_A_NAME.fullmatch(span) and span not in known]


@cache
def words_of_the_code() -> frozenset[str]:
    """Return every word in files of code and configuration, and these files' own names."""
    files = [f for top in CODE for f in (ROOT / top).rglob("*") if f.suffix in ENDINGS]
    files = [ROOT / "pyproject.toml", *(file for file in files if file != Path(__file__))]
    words = {file.stem for file in files}
    return frozenset(words.union(*(re.findall(r"\w+", file.read_text("utf-8")) for file in files)))


def definitions(file: Path) -> set[str]:
    """Return the names that a file defines, those in its classes too."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    return defined(body).union(*(defined(node.body) for node in classes))


def _files(path: str) -> list[Path]:
    """Return the files that a path in a page means."""
    found = [place / path for place in PLACES if (place / path).is_file()]
    return found or [*ATLAS.rglob(path)]


def _resolves(dotted: str) -> bool:
    """Tell whether a dotted name is a module, or a name that a module has."""
    place = ROOT / "src" / dotted.replace(".", "/")
    module, _, name = dotted.rpartition(".")
    return place.is_dir() or place.with_suffix(".py").is_file() or name in names_in(module)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_beside_files_and_dotted_names_are_there(page: Path) -> None:
    assert wrong_names(page.read_text()) == []


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem != "CHANGELOG"], ids=lambda page: page.name
)
def test_what_is_spelt_like_a_name_is_a_word_of_the_code(page: Path) -> None:
    assert unknown_words(page.read_text(), words_of_the_code() | THEIRS) == []


def test_rule_on_names_beside_files_bites() -> None:
    good = "`Task`, `Score` and\n`task_id` of `types.py`, `path` of `src/atlas/run/run_dir.py`"
    assert wrong_names(f"{good}\n```text\n`Tusk` of `types.py`\n```\n") == []
    bad = "`Task` or\n`Tusk` of `src/atlas/types.py`; `Task` of `gone.py`\n| `Any` of `types.py` |"
    assert wrong_names(bad) == ["Tusk of src/atlas/types.py", "Task of gone.py", "Any of types.py"]
    (form,) = wrong_names("`Task` in\n`types.py`")
    assert form == "Task in types.py: write it as `Task` of `types.py`"
    assert len(wrong_names("`Task` (`types.py`)")) == 1


def test_rule_on_dotted_names_bites() -> None:
    assert wrong_names("`atlas.types`, `atlas.traces.store.TraceStore`, `atlas.Task`, `a.b`") == []
    bad = ["atlas.gone", "atlas.types.Tusk", "atlas.traces.store.gone"]
    assert wrong_names(" ".join(f"`{name}`" for name in bad)) == bad


def test_rule_on_words_bites() -> None:
    assert unknown_words("`a_b` `aB` `word` `a_b c_d` `--a_b` `_x` `x_`", {"a_b"}) == ["aB"]
    assert "derive_seed" in words_of_the_code()
    assert "derive_sead" not in words_of_the_code()
