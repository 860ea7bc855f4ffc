"""The pages, held against the repository: links, paths, commands, settings, tables.

Every check is a function from text to the lines that are wrong in it, so that the tests at the end
can show that each one bites.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main
from scripts.reference_pages import PAGES as MADE
from scripts.reference_pages import renewed

import atlas
from atlas.cli.app import app
from atlas.cli.train.evaluate import with_teachers
from atlas.cli.train.quickstart import preset_of
from atlas.config import JOBS, load_config
from atlas.config.grammar.compose import job_of
from atlas.errors import AtlasError
from atlas.from_scratch.data import corpus

ROOT = Path(__file__).resolve().parents[1]
ATLAS = ROOT / "src" / "atlas"
DOCS = ROOT / "docs"
PAGES = sorted(
    page
    for page in (
        *DOCS.glob("*.md"),
        *DOCS.glob("guides/*.md"),
        *(ROOT / f"{n}.md" for n in ("README", "CONTRIBUTING", "CHANGELOG")),
    )
    if page.is_file()
)
PLACES = (ROOT, ROOT / "src", ATLAS)
"""Where a path in a page may begin."""

GROUP: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = dict(GROUP.commands)
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
CONFIGS = {"quickstart": "quickstart", "base-model": "base_model", "collect": "collect"}
"""Commands that take settings: the job, whose name the file has that they start from."""
SOURCED = ("sft", "grpo", "train", "launch", "launch-with-server")
"""Commands that are told which file they start from, and then take settings."""
SCRIPTS = {
    **{"atlas": [], "launch.sh": ["launch"], "launch_with_server.sh": ["launch-with-server"]},
    **{"train.py": ["train"], "train_atlas.py": ["ranked"], "vllm_server.py": ["serve"]},
    **{"prepare_grpo_data.py": ["prepare-data"], "arc-atlas": ["export"]},
}
"""What is run -> the words of ``atlas`` that it stands for."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`((?:[^`\n]|\n(?!\n))+)`")
"""A line may break inside the backticks, a paragraph may not end there."""
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PATH = re.compile(r"(?:src|tests|docs|configs|requirements|benchmarks|scripts)/[\w./*-]*")
_MODULE = re.compile(r"[\w*/]+\.(?:py|sql)")


def blocks(text: str, *languages: str) -> list[str]:
    """Return the code blocks of a page, all of them or those in the languages named."""
    found = [(match[1], match[2]) for match in _FENCE.finditer(text)]
    return [body for language, body in found if not languages or language in languages]


def spans(text: str) -> list[str]:
    """Return what stands between single backticks, outside code blocks."""
    return [span.replace("\n", " ") for span in _SPAN.findall(_FENCE.sub("", text))]


def slugs(text: str) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ +(.*)$", _FENCE.sub("", text), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def broken_links(text: str, page: Path) -> list[str]:
    """Return relative links whose file, or whose heading in it, isn't there."""
    found = []
    for target in _LINK.findall(_SPAN.sub("", _FENCE.sub("", text))):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = page.parent / path if path else page
        if not file.exists():
            found.append(f"link to {target}")
        elif anchor and anchor not in slugs(text if not path else file.read_text()):
            found.append(f"link to {target}: no such heading")
    return found


def missing_paths(text: str) -> list[str]:
    """Return paths in backticks, and modules in pictures, that aren't there."""
    named = [span for span in spans(text) if _PATH.fullmatch(span) or _MODULE.fullmatch(span)]
    named += [path for body in blocks(text, "", "text") for path in _MODULE.findall(body)]
    return [f"path {path}" for path in named if not _is_there(path)]


def _is_there(path: str) -> bool:
    if any(any(place.glob(path.rstrip("/"))) for place in PLACES):
        return True
    return "/" not in path and any(any((ROOT / top).rglob(path)) for top in ("src", "tests"))


def command_lines(text: str) -> Iterator[list[str]]:
    """Yield the words of every command in shell blocks and in backticks, pipes taken apart."""
    shell = "".join(blocks(text, "", "sh", "bash")).replace("\\\n", " ")
    for line in [*shell.splitlines(), *spans(text)]:
        if not re.search(rf"\b(make|{'|'.join(map(re.escape, SCRIPTS))}) ", line):
            continue
        for command in re.split(r"&&|\||;(?= )", line):
            words = shlex.split(command, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if len(words) > 1:
                yield words


def wrong_commands(text: str) -> list[str]:
    """Return commands that don't exist, and options or settings that they don't take."""
    found = []
    for words in command_lines(text):
        if words[0] == "make":
            found += _wrong_make(words[1:])
        else:
            if Path(words[0]).name in ("python", "torchrun"):
                words = words[next((i for i, w in enumerate(words) if w.endswith(".py")), 0) :]
            script = Path(words[0]).name
            if script in SCRIPTS:
                found += _wrong_atlas([*SCRIPTS[script], *words[1:]])
    return found


def _wrong_make(words: Sequence[str]) -> list[str]:
    targets = [word for word in words if "=" not in word]
    found = [f"make {target}" for target in targets if target not in TARGETS]
    for word in words:
        name, _, value = word.partition("=")
        if name == "ARGS" and targets[0] in CONFIGS:
            found += _wrong_atlas([targets[0], *shlex.split(value)])
    return found


def _wrong_atlas(words: Sequence[str]) -> list[str]:
    own = {option for parameter in GROUP.params for option in parameter.opts} | {"--help"}
    while words and words[0] in own:
        words = words[1:]
    if not words:
        return []
    name, *rest = words
    if name not in COMMANDS:
        return [f"atlas {name}"]
    command = COMMANDS[name]
    if rest and hasattr(command, "commands"):
        name, command = f"{name} {rest[0]}", command.commands.get(rest[0])
        if command is None:
            return [f"atlas {name}"]
    known = {option for parameter in command.params for option in parameter.opts}
    options = [word for word in rest if word.startswith("--")]
    found = [f"atlas {name} {option}" for option in options if option not in {*known, "--help"}]
    settings = [word for word in rest if word not in options]
    try:
        _load(name, settings)
    except AtlasError as error:
        found.append(f"atlas {name}: {error}")
    return found


def _load(name: str, settings: list[str]) -> None:
    """Read the settings of a command, if it takes any, as it does itself."""
    if name == "quickstart":
        preset, changed = preset_of(settings)
        load_config(JOBS[name], preset or name, changed)
    elif name in CONFIGS:
        load_config(JOBS[CONFIGS[name]], CONFIGS[name], settings)
    elif name == "evaluate" and settings:
        load_config(JOBS[name], name, with_teachers(settings))
    elif name in SOURCED:
        # Numbers of processes stand before it, and words for the user to fill in.
        blank = re.compile(r"\d+|[A-Z_]+(\.yaml)?|…")
        words = [word for word in settings if not blank.fullmatch(word)]
        if len(words) > 1:
            source, settings = words[0], words[1:]
            load_config(JOBS[job_of(source, settings)], source, settings)


def wrong_python(text: str) -> list[str]:
    """Return what Python blocks import from the package and isn't there."""
    found = []
    for body in blocks(text, "python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("atlas"):
                known = names_in(str(node.module))
                names = [alias.name for alias in node.names]
                found += [f"from {node.module} import {n}" for n in names if n not in known]
    return found


def names_in(module: str) -> set[str]:
    """Return the names that a module defines or imports, without importing it."""
    if module == "atlas":
        return {*atlas.PUBLIC}
    place = ROOT / "src" / module.replace(".", "/")
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if not file.is_file():
        return set()
    body = ast.parse(file.read_text(encoding="utf-8")).body
    imports = [node for node in body if isinstance(node, ast.ImportFrom | ast.Import)]
    return defined(body) | {a.asname or a.name for node in imports for a in node.names}


def defined(body: Iterable[ast.stmt]) -> set[str]:
    """Return the names of functions, classes and variables of a module or a class."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def table(text: str, *header: str) -> list[list[str]]:
    """Return the rows of the table that begins with these columns, backticks taken away."""
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    start = next(i for i, row in enumerate(rows) if row[: len(header)] == list(header))
    width = len(rows[start])
    body = rows[start + 2 :]
    ends = (i for i, row in enumerate(body) if set("".join(row)) <= set("-: "))
    # The next table's rule stands one row below its header.
    body = body[: next(ends, len(body) + 1) - 1]
    return [row for row in body if len(row) == width]


def without_line(tree: str, rooms: Iterable[str]) -> list[str]:
    """Return the rooms that no line of a tree begins with."""
    return [
        room for room in rooms if not re.search(rf"^\s+{re.escape(room)}/?\s", tree, re.MULTILINE)
    ]


def out_of_order(text: str) -> list[str]:
    """Return entries of a glossary that stand before one that they belong after."""
    entries = [entry.casefold() for entry in re.findall(r"^- \*\*(.+?)\*\*:", text, re.MULTILINE)]
    return [later for earlier, later in pairwise(entries) if earlier >= later]


def requirement_names(requirements: Iterable[str]) -> list[str]:
    """Return the names of packages, without extras and versions."""
    return [re.split(r"[\[<>=~! ]", requirement)[0] for requirement in requirements]


def shares(rows: Iterable[Sequence[str]], column: int) -> dict[str, float]:
    """Return a column of percentages by the first column, as shares."""
    return {row[0]: int(row[column].removesuffix(" %")) / 100 for row in rows}


def architecture_test() -> ModuleType:
    """Return the test of the architecture as a module, for its layers."""
    spec = importlib.util.spec_from_file_location(
        "architecture", ROOT / "tests" / "test_architecture.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rooms() -> list[str]:
    """Return everything directly in the package: ``runtime``, ``types.py``."""
    folders = [path.parent.name for path in ATLAS.glob("*/__init__.py")]
    return sorted([*folders, *(p.name for p in ATLAS.glob("*.py") if p.stem != "__init__")])


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Path:
    """Each page in turn."""
    return request.param


def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page.read_text(), page) == []


def test_pages_are_few() -> None:
    """Two pages on one thing tell it twice."""
    assert len([page for page in PAGES if page.parent == DOCS]) <= 20


def test_pages_that_the_code_names_are_there() -> None:
    tops = ("src", "tests", "configs", "scripts", "benchmarks")
    files = [f for top in tops for f in (ROOT / top).rglob("*") if f.suffix in (".py", ".yaml")]
    named = {
        (str(file.relative_to(ROOT)), page)
        for file in (ROOT / "Makefile", *files)
        for page in re.findall(r"\bdocs/[\w./-]+\.md", file.read_text(encoding="utf-8"))
    }
    assert len(named) > 2
    assert [(file, page) for file, page in named if not (ROOT / page).is_file()] == []


def test_paths_exist(page: Path) -> None:
    assert missing_paths(page.read_text()) == []


def test_commands_exist_and_take_what_they_are_given(page: Path) -> None:
    assert wrong_commands(page.read_text()) == []


def test_python_imports_what_is_there(page: Path) -> None:
    assert wrong_python(page.read_text()) == []


def test_code_blocks_are_closed_and_nothing_is_left_to_fill_in(page: Path) -> None:
    rest = _FENCE.sub("", page.read_text())
    assert re.findall(r"^```.*|\bTODO\b|\bTBD\b|\bFIXME\b|^[<=>]{7}", rest, re.MULTILINE) == []


def test_every_room_has_a_line_in_the_tree() -> None:
    assert without_line(blocks((DOCS / "architecture.md").read_text(), "text")[0], rooms()) == []


def test_import_rows_are_the_layers_that_are_enforced() -> None:
    there = {room.removesuffix(".py") for room in rooms()}
    enforced = [names & there for names in architecture_test().LAYERS]
    rows = table((DOCS / "architecture.md").read_text(), "Row", "Rooms")
    assert [set(re.findall(r"\w+", row[1])) for row in rows] == [row for row in enforced if row]


@pytest.mark.parametrize("name", MADE)
def test_a_page_made_from_the_code_is_what_the_code_says(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    made = "make docs, which is python -m scripts.reference_pages, writes it anew"
    assert text == renewed(text, MADE[name]()), made


def test_every_formula_file_is_in_the_table() -> None:
    text = (DOCS / "objectives.md").read_text()
    files = [path for path in (ATLAS / "objectives").glob("*.py") if path.stem != "__init__"]
    assert [path.name for path in files if f"`src/atlas/objectives/{path.name}`" not in text] == []


def test_every_direct_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "CONTRIBUTING.md").read_text()
    always = [row[0] for row in table(text, "Always", "Why")]
    training = [row[0] for row in table(text, "Training", "Why")]
    development = [row[0] for row in table(text, "Development", "Why")]
    comparison = [row[0] for row in table(text, "Comparison", "Why")]
    assert always == requirement_names(project["dependencies"])
    assert training == requirement_names(project["optional-dependencies"]["train"])
    trackers = [row[0] for row in table(text, "Trackers", "Why")]
    assert development == requirement_names(project["optional-dependencies"]["dev"])
    assert trackers == requirement_names(project["optional-dependencies"]["trackers"])
    assert comparison == requirement_names(project["optional-dependencies"]["bench"])
    real = [row[0] for row in table(text, "Real model", "Why")]
    assert real == requirement_names(project["optional-dependencies"]["real"])
    several = [row[0] for row in table(text, "Several processes", "Why")]
    assert several == requirement_names(project["optional-dependencies"]["deepspeed"])
    graphics = [row[0] for row in table(text, "GPUs", "Why")]
    cuda = requirement_names(project["optional-dependencies"]["cuda"])
    assert ["atlas-teacher", *graphics] == cuda


def test_shares_of_the_corpus_are_those_that_are_drawn() -> None:
    text = (DOCS / "models.md").read_text()
    assert shares(table(text, "Kind", "Share"), 1) == dict(corpus.KINDS)
    teachings = table(text, "Teaching", "Written", "Followed")
    assert shares(teachings, 1) == dict(corpus.TEACHERS)
    assert shares(teachings, 2) == dict(corpus.FOLLOWED)


def test_glossary_is_in_alphabetical_order() -> None:
    glossary = (DOCS / "architecture.md").read_text().split("## Glossary")[1]
    assert len(glossary.splitlines()) > 40
    assert out_of_order(glossary) == []


def test_rule_on_links_bites(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.touch()
    (tmp_path / "there.md").write_text("# A `b`: c\n```sh\n# no heading\n```\n")
    good = (
        "# Here\n\n[a](there.md) [b](there.md#a-b-c) [c](#here) [d](https://x.org) `[e](gone.md)`"
    )
    assert broken_links(good, page) == []
    bad = "[a](gone.md) [b](there.md#no-heading) [c](#there)"
    assert broken_links(bad, page) == [
        "link to gone.md",
        "link to there.md#no-heading: no such heading",
        "link to #there: no such heading",
    ]


def test_rule_on_paths_bites() -> None:
    good = "`src/atlas/types.py` `objectives/kl.py` `kl.py` `src/atlas/traces/postgres/r*.py` `a/b`"
    assert missing_paths(f"{good}\n```text\nrun_dir.py here\n```\n") == []
    bad = "`src/atlas/kinds.py` `objectives/kkl.py` `kkl.py` `configs/run/gone.yaml`"
    assert missing_paths(f"{bad}\n```text\nruns_dir.py here\n```\n") == [
        "path src/atlas/kinds.py",
        "path objectives/kkl.py",
        "path kkl.py",
        "path configs/run/gone.yaml",
        "path runs_dir.py",
    ]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`make test` and to make tests of it", []),
        ("`make tests`", ["make tests"]),
        ("`make\ntests`", ["make tests"]),
        ("```sh\nA=b make quickstart && make nothing  # a user's\n```", ["make nothing"]),
        ("```sh\n.venv/bin/atlas report runs/x | less\n```", []),
        ("```sh\natlas \\\n  grow\n```", ["atlas grow"]),
        ("`atlas report --all`", ["atlas report --all"]),
        ("`atlas review list --limit 3`", []),
        ("`atlas --debug report runs/x` or `atlas --version`", []),
        ("`atlas --debug grow`", ["atlas grow"]),
        ("`atlas review list --lim 3`", ["atlas review list --lim"]),
        ("`atlas review forget 3`", ["atlas review forget"]),
        ('`make quickstart ARGS="seed=1 --fresh"`', []),
        ('`make base-model ARGS="max_steps=5"`', []),
        ("`atlas quickstart grpo.beta=0.1 families=chain_sum,leg_counting`", []),
        ("It says\n```\natlas: unknown key\n```", []),
        ("`atlas sft teacher_sft data=runtime_traces limit=5 --fresh` or `atlas sft`", []),
        ("`scripts/launch.sh 2 teacher_sft limit=5 --dry-run`", []),
        ("`launch_with_server.sh 0 0 a.yaml --dry`", ["atlas launch-with-server --dry"]),
        ("`A=1 python train_atlas.py --confg c.json`", ["atlas ranked --confg"]),
    ],
)
def test_rule_on_commands_bites(text: str, wrong: list[str]) -> None:
    assert wrong_commands(f"{text}\n") == wrong


@pytest.mark.parametrize(
    "text",
    [
        '`make quickstart ARGS="sed=1"`',
        "```\natlas quickstart eval_tasks=0\n```\n",
        "`atlas sft teacher_sft data=runtime_traces sed=1`",
        "`torchrun --nnodes=2 train.py teacher_sft sed=1`",
        "`scripts/launch.sh 2 configs/run/teacher_rcl.yaml sed=1`",
        "`atlas evaluate base sed=1`",
    ],
)
def test_rule_on_settings_in_commands_bites(text: str) -> None:
    (wrong,) = wrong_commands(text)
    assert re.match(r"atlas [a-z]+: (unknown key 'sed'|eval_tasks must be)", wrong)


def test_rule_on_python_bites() -> None:
    code = "```python\nfrom atlas.types import Task, Tusk\nfrom atlas.gone import x\n```\n"
    assert wrong_python(code) == ["from atlas.types import Tusk", "from atlas.gone import x"]


def test_rules_on_tables_bite() -> None:
    text = "| Key | Default |\n|---|---|\n| `seed` | `1` |\n\n| X | Y |\n|--|--|\n| a | b |\n"
    assert table(text, "Key", "Default") == [["seed", "1"]]
    assert table(text, "X") == [["a", "b"]]
    assert without_line("src/\n  types.py  nouns\n  run/\n", ["types.py", "run", "un"]) == ["un"]
    assert requirement_names(["psycopg[binary]>=3", "torch"]) == ["psycopg", "torch"]
    assert shares([["right", "24 %"]], 1) == {"right": 0.24}


def test_rule_on_order_bites() -> None:
    assert out_of_order("- **Base model**: a\n- **Baseline**: b\n- **Arm**: c\n") == ["arm"]
