"""The shape of the house, enforced: import direction, sizes, names, what must import without torch.

Every rule is a function from source text to the lines that break it, so that the tests at the end
can show that each rule bites. There is no list of exceptions.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas.config.rim import BUILT_IN_JUDGES
from atlas.rewards.judges.judge import PLACEHOLDERS as JUDGE_PLACEHOLDERS

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
ATLAS = SRC / "atlas"

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 80
MAX_OBJECTIVE_LINES = 150
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "misc", "common"}
HEAVY = ("torch", "transformers", "vllm", "deepspeed")
LIGHT = (
    *("config", "types", "errors", "session", "json_file", "yaml_file", "training_data"),
    *("cli.app", "report", "installing", "machine.checks"),
)
"""Rooms that must import without anything heavy."""

LAYERS: tuple[frozenset[str], ...] = (
    frozenset(
        {
            *("types", "errors", "session", "json_file", "yaml_file", "masking", "installing"),
            "objectives",
        }
    ),
    frozenset({"config", "prompts"}),
    frozenset({"machine", "run"}),
    frozenset({"endpoint", "models", "parallel", "planning", "serve", "traces"}),
    frozenset({"rewards", "rollouts", "training_data"}),
    frozenset({"data", "policy"}),
    frozenset({"environments"}),
    frozenset({"training", "evaluation"}),
    frozenset({"from_scratch", "report"}),
    frozenset({"quickstart"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
"""Left to right: a room imports itself and what is left of it, never a neighbour in its layer."""

NARROWER = {
    "types": {"errors"},
    "session": {"types", "errors"},
    "errors": set(),
    "json_file": {"errors"},
    "yaml_file": {"errors"},
    "masking": set(),
    "installing": {"errors", "json_file"},
    "training_data": {"types", "errors", "session", "traces"},
    "report": {
        *("types", "errors", "session", "json_file", "yaml_file", "masking", "config"),
        *("machine", "run", "evaluation"),
    },
}
"""Rooms that may import less than their place in the layers, or other parts of it, would say."""

PARSERS = {
    "json_file.py": "the reader of JSON",
    "yaml_file.py": "the reader of YAML",
    "rewards/sandbox/candidate.py": "its own process is written to by ours alone",
    "rewards/sandbox/checker.py": "its own process is written to by ours alone",
    "rewards/sandbox/forks.py": "lines between our own processes, limited there",
    "rewards/sandbox/run.py": "lines between our own processes, limited there",
    "rewards/sandbox/wire.py": "lines between our own processes, limited there",
    "rewards/verifiers/line_process.py": "lines between our own processes, limited there",
    "rewards/verifiers/json_schema.py": "an answer, read more strictly: no key twice",
    "traces/postgres/connection.py": "jsonb, which the server has checked",
    "rewards/judges/verdict.py": "finds objects in a judge's prose",
    "rewards/verifiers/answers.py": "finds objects in a model's answer",
    "environments/tools/calls.py": "finds objects in what a model wrote",
    "rewards/verifiers/schema_worker.py": "lines between our own processes, limited there",
    "rewards/judges/quoting.py": "the test of what quoting promises",
    "serve/connection.py": "replies of the server that we started",
    "serve/interpreter.py": "what a Python that we started prints",
    "serve/inside/worker.py": "runs in the server, without the rest of Atlas",
    "from_scratch/model/gguf_tokenizer.py": "what the tokenizer in memory says of itself",
    "from_scratch/model/folder.py": "figures in memory, on their way to the file",
}
"""Who may parse JSON or YAML, and why the one reader isn't for it."""

PROMPTS = {
    **{
        f"rewards/judges/prompts/judge_{kind}.txt": set(p) for kind, p in JUDGE_PLACEHOLDERS.items()
    },
    **{f"rewards/judges/prompts/{name}.txt": set() for name in BUILT_IN_JUDGES},
}
"""The judges' prompts with their placeholders; those of teacher and student are checked as users'
are (atlas.prompts.folder)."""


def allowed_imports(room: str) -> set[str]:
    """Return the rooms that ``room`` may import."""
    if room in NARROWER:
        return NARROWER[room] | {room}
    layer = next(place for place, rooms in enumerate(LAYERS) if room in rooms)
    return {room}.union(*LAYERS[:layer])


def room_of(module: str) -> str:
    """Return the second part of ``atlas.room.module``; the package itself is the room ``atlas``."""
    return module.split(".")[1] if "." in module else "atlas"


def imported_modules(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of all that is imported, at any depth of the code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "atlas":
            yield from ((node.lineno, f"atlas.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def wrong_directions(source: str, room: str) -> list[str]:
    """Return imports that go to the right, or sideways."""
    known = frozenset().union(*LAYERS)
    if room not in known:
        return [f"room '{room}' has no place in LAYERS"]
    return [
        f"line {line}: {room} imports {name}"
        for line, name in imported_modules(ast.parse(source))
        if name.startswith("atlas.")
        and not name.startswith("atlas.__version__")
        and room_of(name) not in allowed_imports(room)
    ]


def relative_imports(source: str) -> list[str]:
    """Return imports that begin with a dot."""
    return [
        f"line {node.lineno}: relative import"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]


def parsers(source: str) -> list[str]:
    """Return calls that parse JSON or YAML, under whatever name the module has."""
    return [
        f"line {node.lineno}: {ast.unparse(node.func)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and re.fullmatch(
            r"_?(json|yaml)\.\w*(load\w*|Decoder|parse|compose\w*)|OmegaConf\.(load|create)",
            ast.unparse(node.func),
        )
    ]


def prints(source: str) -> list[str]:
    """Return calls of ``print``."""
    return [
        f"line {node.lineno}: print"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]


def long_functions(source: str) -> list[str]:
    """Return functions of more than ``MAX_FUNCTION_LINES`` lines, docstring included."""
    return [
        f"line {node.lineno}: {node.name} has {length} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]


def too_long(source: str, limit: int) -> list[str]:
    """Return the length of a file that has more than ``limit`` lines."""
    length = len(source.splitlines())
    return [f"{length} lines, more than {limit}"] if length > limit else []


def vague_names(path: Path) -> list[str]:
    """Return the parts of a module's path that say nothing."""
    return [part for part in path.with_suffix("").parts if part in VAGUE_NAMES]


def unmirrored(test_file: Path, unit: Path, package: Path) -> list[str]:
    """Return the source that a test file under ``tests/unit`` stands for, if it isn't there."""
    relative = test_file.relative_to(unit)
    source = package / relative.parent / relative.name.removeprefix("test_")
    if source.is_file() or source.with_suffix("").is_dir():
        return []
    return [f"there is no {source.relative_to(package.parent)}"]


def placeholders(text: str) -> set[str]:
    """Return the names in braces in a prompt."""
    return set(re.findall(r"\{([a-z_]+)\}", text))


def sources(*folders: str) -> list[Path]:
    """Return every Python file below the folders, and those in the root of the repository."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted([*found, *ROOT.glob("*.py")])


def report(rule: dict[Path, list[str]]) -> list[str]:
    """Return one line per offence, with its file."""
    return [f"{path.relative_to(ROOT)}: {line}" for path, lines in rule.items() for line in lines]


def test_imports_point_one_way() -> None:
    found = {}
    for path in ATLAS.rglob("*.py"):
        room = path.relative_to(ATLAS).with_suffix("").parts[0]
        if room != "__init__":
            found[path] = wrong_directions(path.read_text(), room)
    assert report(found) == []


def test_package_init_imports_for_type_checkers_alone() -> None:
    tree = ast.parse((ATLAS / "__init__.py").read_text())
    at_run_time = [node for node in tree.body if not isinstance(node, ast.If)]
    names = [name for node in at_run_time for _, name in imported_modules(node)]
    assert [name for name in names if name.startswith("atlas")] == []


def test_imports_are_absolute() -> None:
    assert (
        report({path: relative_imports(path.read_text()) for path in sources("src", "tests")}) == []
    )


def test_the_library_never_prints() -> None:
    assert report({path: prints(path.read_text()) for path in ATLAS.rglob("*.py")}) == []


def test_files_are_parsed_by_their_one_reader() -> None:
    found = {path.relative_to(ATLAS).as_posix(): path for path in ATLAS.rglob("*.py")}
    elsewhere = {p: parsers(p.read_text()) for name, p in found.items() if name not in PARSERS}
    assert report(elsewhere) == []
    assert [name for name in PARSERS if not parsers(found[name].read_text())] == []


def test_files_are_short() -> None:
    paths = sources("src", "tests", "benchmarks", "scripts")
    assert report({path: too_long(path.read_text(), MAX_FILE_LINES) for path in paths}) == []


def test_objectives_are_very_short() -> None:
    paths = (ATLAS / "objectives").glob("*.py")
    assert report({path: too_long(path.read_text(), MAX_OBJECTIVE_LINES) for path in paths}) == []


def test_functions_are_short() -> None:
    paths = sources("src", "tests", "benchmarks", "scripts")
    assert report({path: long_functions(path.read_text()) for path in paths}) == []


def test_names_say_something() -> None:
    paths = sources("src", "tests", "benchmarks", "scripts")
    assert report({path: vague_names(path.relative_to(ROOT)) for path in paths}) == []


def test_unit_tests_mirror_the_source() -> None:
    unit = ROOT / "tests" / "unit"
    assert report({path: unmirrored(path, unit, ATLAS) for path in unit.rglob("test_*.py")}) == []


def test_prompts_have_the_placeholders_that_the_code_fills_in() -> None:
    found = {
        str(path.relative_to(ATLAS)): placeholders(path.read_text())
        for path in (ATLAS / "rewards").rglob("prompts/*.txt")
    }
    assert found == PROMPTS


@pytest.mark.parametrize("room", LIGHT)
def test_light_rooms_import_without_torch(room: str) -> None:
    code = f"import sys, atlas.{room}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(SRC), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("source", "room", "allowed"),
    [
        ("from atlas.types import Task", "config", True),
        ("from atlas import __version__", "config", True),
        ("import atlas.run.files", "training", True),
        ("from atlas.config import GRPOConfig", "objectives", False),
        ("from atlas.rewards.uplift import reward", "rollouts", False),
        ("from atlas import training", "run", False),
        ("def f():\n    import atlas.cli.app", "evaluation", False),
        ("from atlas.rewards.leaks.find import find_leak", "report", False),
        ("from atlas.traces.postgres.reading import read", "training_data", True),
        ("x = 1", "lobby", False),
    ],
)
def test_rule_on_imports_bites(source: str, room: str, allowed: bool) -> None:
    assert (wrong_directions(source, room) == []) is allowed


@pytest.mark.parametrize("length", [MAX_FUNCTION_LINES, MAX_FUNCTION_LINES + 1])
def test_rule_on_functions_bites(length: int) -> None:
    source = "class A:\n    def f(self):\n" + "        x = 1\n" * (length - 1)
    assert bool(long_functions(source)) is (length > MAX_FUNCTION_LINES)


def test_rule_on_files_bites() -> None:
    assert too_long("x\n" * 5, 5) == []
    assert too_long("x\n" * 6, 5) == ["6 lines, more than 5"]


def test_rules_on_print_dots_and_names_bite() -> None:
    assert prints("def f():\n    print(1)") == ["line 2: print"]
    assert prints("console.print(1)") == []
    assert relative_imports("from .types import Task") == ["line 1: relative import"]
    assert vague_names(Path("src/atlas/training/utils.py")) == ["utils"]
    assert vague_names(Path("src/atlas/common/loss.py")) == ["common"]


def test_rule_on_parsers_bites() -> None:
    assert parsers("def f(p):\n    return json.load(p)") == ["line 2: json.load"]
    assert parsers("yaml.safe_load(p)") == ["line 1: yaml.safe_load"]
    assert parsers("json.dumps(1) + load_config(p)") == []


def test_rule_on_mirrors_bites(tmp_path: Path) -> None:
    unit, package = tmp_path / "unit", tmp_path / "atlas"
    (package / "rewards").mkdir(parents=True)
    (package / "rewards" / "uplift.py").touch()
    assert unmirrored(unit / "rewards" / "test_uplift.py", unit, package) == []
    assert unmirrored(unit / "rewards" / "test_gain.py", unit, package) == [
        "there is no atlas/rewards/gain.py"
    ]


def test_rule_on_prompts_reads_placeholders() -> None:
    assert placeholders('{task}\nStudent: {approach}\n{"json": 1} {}') == {"task", "approach"}
