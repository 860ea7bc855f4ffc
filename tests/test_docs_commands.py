"""Every command in a shell block of the pages: run here, or run elsewhere at a size that is said.

Trainings are run here as far as their plan (``--dry-run``), and what reads a run reads one made up.
The rest is in `ELSEWHERE`, with the test that runs it, or in `NOT_RUN`, with the reason. A command
that is in none of them fails.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.test_docs import DOCS, ROOT, SCRIPTS, blocks
from tests.unit.report.fake_run import make_fake_run
from tests.unit.training.test_rollout_metrics import GROUPS
from typer.testing import CliRunner

from atlas.cli.app import app
from atlas.errors import AtlasError
from atlas.machine.shipped import SHIPPED
from atlas.run.lineage import Lineage, write_lineage
from atlas.training.rollout_metrics import write_rollouts
from atlas.training.samples import train_samples

PAGES = [ROOT / "README.md", *sorted(DOCS.glob("**/*.md"))]
PLANNED: Final = ("sft", "grpo", "train", "launch", "launch-with-server")
"""Commands that are run here as far as their plan."""
READ: Final = ("doctor", "report", "why", "diff", "lineage")
"""Commands that are run here on a run that is made up."""
ELSEWHERE: Final = (
    (r"make quickstart|atlas quickstart", "integration/test_quickstart.py", "a few steps"),
    (r"atlas teach .*student=endpoint", "integration/test_students.py", "one question"),
    (r"atlas teach", "integration/test_quickstart.py", "one question"),
    (r"atlas evaluate .*student=", "integration/test_students.py", "a few tasks"),
    (r"atlas evaluate", "integration/test_evaluate.py", "a few tasks"),
    (r"atlas collect .*student=", "integration/test_students.py", "a few tasks"),
    (r"atlas collect", "integration/test_traces_commands.py", "a few tasks"),
    (r"atlas (ask|export .*--format)", "integration/test_installing.py", "the base model"),
    (r"(atlas export|arc-atlas)", "integration/test_traces_commands.py", "a few sessions"),
    (r"atlas review", "integration/test_traces_commands.py", "a few sessions"),
    (r"atlas lineage .*--check", "integration/test_traces_commands.py", "a few sessions"),
    (r"atlas replay", "unit/training/test_replay.py", "three steps of a tiny model"),
    (r"atlas watch", "unit/report/test_live.py", "a run made up"),
    (r"atlas push", "unit/models/test_upload.py", "a folder, to a hub of the test"),
    (r"atlas selftest", "unit/from_scratch/test_selftest.py", "whole"),
    (r"(atlas serve|trainers/vllm_server\.py)", "unit/cli/serve/test_serve.py", "its arguments"),
    (r"prepare_grpo_data\.py", "integration/test_from_scratch.py", "a few tasks"),
    (r"train_atlas\.py", "integration/test_from_scratch.py", "nano, a few steps"),
    (r"torchrun .*train\.py", "distributed/test_nodes.py", "two machines of one process"),
    (r"make test", "", "this is it"),
)
"""A command -> the test under ``tests/`` that runs it, and at which size."""
CALLED: Final = {"push": "upload"}
"""Command -> what it calls, where the test begins there."""
NOT_RUN: Final = (
    (r"make (bench|base-model)|benchmarks/", "measures, or trains, for minutes to hours"),
    (r"make serve-env", "installs vLLM; make serving tests with it where it is there"),
    (r"pip install", "installs from the network; .ci/run installs what it needs"),
    (r"tail -f|tensorboard --logdir|diff <\(jq", "no command of Atlas"),
)
"""A command -> why no test runs it."""


def commands(page: Path) -> Iterator[str]:
    """Yield the commands of a page's shell blocks, each in one line, without comments."""
    for block in blocks(page.read_text(encoding="utf-8"), "sh", "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.sub(r"(^|\s)#\s.*", "", line).strip()
            if found:
                yield found


def words_of(command: str) -> list[str]:
    """Return the words of ``atlas`` that a command stands for; empty where it is none of ours."""
    words = shlex.split(command)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    if words[0] == "python":
        words.pop(0)
    name = Path(words[0]).name
    return [*SCRIPTS[name], *words[1:]] if name in SCRIPTS else []


def place(command: str) -> str:
    """Return where a command is run: ``here``, a test, or why it isn't; empty where nothing says.

    Example: ``integration/test_evaluate.py`` for ``atlas evaluate base …``.
    """
    elsewhere = [test or "here" for found, test, _ in ELSEWHERE if re.search(found, command)]
    reasons = [reason for found, reason in NOT_RUN if re.search(found, command)]
    run_here = words_of(command)[:1] and words_of(command)[0] in PLANNED + READ
    return next(iter([*elsewhere, *(["here"] if run_here else []), *reasons]), "")


def named_in(test: str, command: str) -> bool:
    """Tell whether a test names a command's script, or its command of atlas, or what that calls."""
    if not test.endswith(".py"):
        return True
    text = (ROOT / "tests" / test).read_text(encoding="utf-8")
    names = [Path(word).stem for word in shlex.split(command) if word.endswith(".py")]
    names += [CALLED.get(word, word) for word in words_of(command)[:1] or ["quickstart"]]
    return any(re.search(rf"\b{re.escape(name)}\b", text) for name in names)


ALL = [(page.name, command) for page in PAGES for command in commands(page)]


def test_every_command_has_a_place_where_it_is_run_or_a_reason() -> None:
    assert len(ALL) > 100
    assert [command for _, command in ALL if not place(command)] == []
    assert place("atlas dance runs/quickstart") == ""


def test_every_place_is_there_and_some_command_is_run_in_it() -> None:
    places = {test for _, test, _ in ELSEWHERE if test}
    assert [test for test in places if not (ROOT / "tests" / test).is_file()] == []
    used = {place(command) for _, command in ALL}
    assert [command for _, command in ALL if not named_in(place(command), command)] == []
    assert places - used == set()
    assert {reason for _, reason in NOT_RUN} - used == set()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with stand-ins for what the pages name: models, and two runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for model in (
        *("checkpoints/sft/final", "checkpoints/grpo/final", "my_sft/final", "models/atlas_nano"),
    ):
        (tmp_path / model).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / model).symlink_to(SHIPPED["base"])
    for name in ("quickstart", "seed1"):
        run = make_fake_run(tmp_path / "runs" / name, num_tasks=30)
        samples, _ = train_samples(GROUPS, scale="group", mask_truncated=False, epsilon=1e-4)
        (run / "grpo" / "rollouts").mkdir(parents=True)
        kind = {"layout_version": 1, "kind": "grpo", "atlas_version": "0"}
        (run / "grpo" / "run.json").write_text(json.dumps(kind))
        write_rollouts(run / "grpo" / "rollouts" / "step_000005.parquet", GROUPS, samples, 5)
        for made in (run, run / "grpo", run / "sft"):
            made.mkdir(exist_ok=True)
            write_lineage(made, Lineage(source="t", train=("1",), eval=(), num_samples={}))
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "rl_checkpoint").symlink_to(tmp_path / "runs" / "quickstart" / "grpo")
    return tmp_path


def outcome(words: list[str]) -> str:
    """Run a command in this process; return what is wrong with how it ended."""
    done = CliRunner().invoke(app, words)
    error = done.exception
    # A plan that says what a machine lacks has done its work, as has a doctor that finds something.
    if isinstance(error, AtlasError) and re.search(r"needs [\d.]+ GB|no GPU|GPUs", str(error)):
        return ""
    if done.exit_code == 0 or (words[0] == "doctor" and done.exit_code == 1 and done.output):
        return ""
    return f"{shlex.join(words)}: {error or done.output}"


@pytest.mark.usefixtures("folder")
def test_trainings_can_be_planned_as_they_are_written() -> None:
    here = dict.fromkeys(tuple(words_of(c)) for _, c in ALL if place(c) == "here")
    found = [[*words] for words in here if words and words[0] in PLANNED]
    assert len(found) > 30
    planned = [words if "--dry-run" in words else [*words, "--dry-run"] for words in found]
    assert [wrong for words in planned if (wrong := outcome(words))] == []


@pytest.mark.usefixtures("folder")
def test_what_reads_a_run_reads_one() -> None:
    here = dict.fromkeys(tuple(words_of(c)) for _, c in ALL if place(c) == "here")
    found = [[*words] for words in here if words and words[0] in READ]
    assert {words[0] for words in found} == {*READ}
    assert [wrong for words in found if (wrong := outcome(words))] == []
