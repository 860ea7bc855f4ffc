"""Sessions through the real commands: recorded, listed, reviewed, exported, traced back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from atlas.cli import app as cli
from atlas.run.lineage import Lineage, write_lineage
from atlas.run.run_dir import RunDir
from atlas.session import Session, SessionReward, TrajectoryEvent
from atlas.traces.collection import PostgresCollection
from atlas.traces.jsonl import JsonlTraceStore, write_jsonl
from atlas.traces.open_database import database
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.postgres.writing import write_sessions
from atlas.traces.record import task_of
from atlas.traces.store import SessionQuery
from atlas.training_data import (
    count_training_sessions,
    get_training_sessions,
    get_training_sessions_async,
    paginate_sessions,
    paginate_sessions_async,
)

ALL = SessionQuery()
SMALL = ("num_tasks=6", "chunk_size=4", "student_max_new_tokens=96")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: object
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def atlas(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run a command in a folder of the test's own, as the installed script does."""
    monkeypatch.chdir(server_folder)
    for name in ("STORAGE__DATABASE_URL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: object, entry: Callable[[], None] = cli.main) -> Done:
        monkeypatch.setattr(sys, "argv", ["atlas", *map(str, words)])
        capsys.readouterr()
        try:
            entry()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def recorded(fresh_db_url: str) -> str:
    """Six sessions: scores 0 to 0.5, every second one succeeded, one without events."""
    write_sessions(
        fresh_db_url,
        [
            Session(
                task=f"Task {n}",
                status="succeeded" if n % 2 else "failed",
                reward=SessionReward(score=n / 10),
                trajectory_events=(TrajectoryEvent(event={"type": "LLM_END", "n": n}),) * (n > 0),
            )
            for n in range(6)
        ],
    )
    return fresh_db_url


def stored(db_url: str) -> list[Session]:
    return list(PostgresTraceStore(db_url).sessions(ALL))


def ids(db_url: str, review_status: str) -> set[int | None]:
    return {s.id for s in stored(db_url) if s.review_status == review_status}


def test_a_collection_that_is_stopped_goes_on_as_if_it_had_not_been(
    atlas: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = PostgresCollection.add

    def add_and_press_ctrl_c(self: PostgresCollection, sessions: list[Session]) -> None:
        add(self, sessions)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(PostgresCollection, "add", add_and_press_ctrl_c)
        stopped = atlas("collect", *SMALL)
    assert stopped.code == 130
    assert "the same command goes on" in stopped.out
    with database("runs/collect") as db_url:
        first = stored(db_url)
    assert len(first) == 4

    done = atlas("collect", *SMALL)
    assert done.code == 0, done.err
    with database("runs/collect") as db_url:
        sessions = stored(db_url)
    assert [s.id for s in sessions[2:]] == [s.id for s in first]
    counts = sorted(Counter(s.status for s in sessions).items())
    assert [status for status, _ in counts] == ["failed", "succeeded"]
    says = ", ".join(f"{number} {status}" for status, number in counts)
    assert f"sessions:      6: {says}\n" in done.out

    # The same into a file, without a stop: the sessions differ in their times only.
    whole = atlas("collect", *SMALL, "output=t.jsonl.gz", "output_dir=runs/file")
    assert whole.code == 0, whole.err
    told = [(s.task, s.final_answer, s.steps, s.reward) for s in reversed(sessions)]
    read = list(JsonlTraceStore("t.jsonl.gz").sessions(ALL))
    assert [(s.task, s.final_answer, s.steps, s.reward) for s in read] == told
    assert {s.learning_key for s in (*read, *sessions)} == {sessions[0].learning_key}
    # Once more: nothing is worked again, the file is what it was.
    before = Path("t.jsonl.gz").read_bytes()
    again = atlas("collect", *SMALL, "output=t.jsonl.gz", "output_dir=runs/file")
    assert "recorded before" in again.out
    assert Path("t.jsonl.gz").read_bytes() == before


def test_tasks_of_one_s_own_are_recorded_in_a_database_of_one_s_own(
    atlas: Command, fresh_db_url: str
) -> None:
    questions = {"Capital of France?": "Paris", "What is 2 + 3?": 5}
    lines = [json.dumps({"question": q, "answer": a}) for q, a in questions.items()]
    Path("mine.jsonl").write_text("\n".join(lines))
    words = ("tasks=mine.jsonl", "student_max_new_tokens=16", f"db_url={fresh_db_url}")
    done = atlas("collect", *words, "learning_key=mine")
    assert done.code == 0, done.err
    sessions = get_training_sessions(fresh_db_url, learning_key="mine")
    tasks = [task for session in sessions if (task := task_of(session))]
    assert {(task.question, task.answer, task.family) for task in tasks} == {
        (question, str(answer), "reference") for question, answer in questions.items()
    }


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz"])
def test_an_export_holds_what_the_database_holds(atlas: Command, recorded: str, name: str) -> None:
    for replaced in (False, True):
        done = atlas("export", "--database-url", recorded, "--output", name)
        assert done.code == 0, done.err
        assert "6 there, 6 match, 6 written" in done.out
        assert "3 failed, 3 succeeded" in done.out
        assert ("in place of the one that was there" in done.out) is replaced
        read = list(JsonlTraceStore(name).sessions(ALL))
        for field in fields(Session):
            assert [getattr(s, field.name) for s in read] == [
                getattr(s, field.name) for s in stored(recorded)
            ], field.name


def test_filters_limit_and_ids_choose_and_what_is_left_out_is_said(
    atlas: Command, recorded: str
) -> None:
    words = ("export", "--database-url", recorded, "--output", "t.jsonl")
    newest = [s.task for s in stored(recorded)]
    done = atlas(*words, "--status", "succeeded", "--min-reward", "0.2", "--limit", "1")
    assert "6 there, 2 match, 1 written" in done.out
    assert "3 by --status, 1 by --min-reward, 1 by --limit and --offset" in done.out
    assert [s.task for s in JsonlTraceStore("t.jsonl").sessions(ALL)] == ["Task 5"]

    atlas(*words, "--limit", "2", "--offset", "1", "--no-events")
    read = list(JsonlTraceStore("t.jsonl").sessions(ALL))
    assert [s.task for s in read] == newest[1:3]
    assert not any(s.trajectory_events for s in read)

    chosen = [s.id for s in stored(recorded)][2:4]
    atlas(*words, *(word for number in chosen for word in ("--session-id", number)))
    assert [s.id for s in JsonlTraceStore("t.jsonl").sessions(ALL)] == chosen


def test_an_output_that_is_a_link_stays_one(atlas: Command, recorded: str, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "out.jsonl"
    link.symlink_to("disk/t.jsonl")
    atlas("export", "--database-url", recorded, "--output", str(link))
    assert link.is_symlink()
    assert (tmp_path / "disk" / "t.jsonl").stat().st_size > 0


def test_nothing_to_write_is_said_and_not_written(atlas: Command, recorded: str) -> None:
    words = ("export", "--database-url", recorded, "--output", "t.jsonl")
    done = atlas(*words, "--status", "succeeded", "--min-reward", "0.9")
    assert done.code == 2
    assert "none of the 6 sessions" in done.err
    assert "left out 3 by --status, 3 by --min-reward; nothing was written" in done.err
    assert len(done.err.strip().splitlines()) == 1
    past = atlas(*words, "--offset", "6")
    assert (past.code, "--offset goes past the 6 sessions" in past.err) == (2, True)
    missing = atlas(*words, "--session-id", "1000000")
    assert (missing.code, "there is no session 1000000" in missing.err) == (2, True)
    mixed = atlas(*words, "--session-id", "1", "--status", "failed")
    assert (mixed.code, "--session-id chooses alone" in mixed.err) == (2, True)
    assert not list(Path().iterdir())


def test_the_guide_s_command_works_as_it_is_written_twice(recorded: str, tmp_path: Path) -> None:
    script = [sys.executable, "-c", "from atlas.cli.app import arc_atlas; arc_atlas()"]
    for _ in range(2):
        done = subprocess.run(
            [*script, "--database-url", recorded, "--output", "traces.jsonl"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2])},
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert len(list(JsonlTraceStore(tmp_path / "traces.jsonl").sessions(ALL))) == 6


def test_the_sdk_s_flags_are_taken(atlas: Command, recorded: str) -> None:
    first, second, *_ = sorted(ids(recorded, "pending"), key=str)
    words = ("--database-url", recorded, "--output", "t.jsonl")

    def arc(*more: object) -> Done:
        return atlas(*more, entry=cli.arc_atlas)

    assert arc("review", "approve", *words[:2], first, "--note", "good", "--quiet").code == 0
    assert arc("review", "quarantine", *words[:2], second).code == 0
    listed = arc("review", "sessions", *words[:2], "--status", "quarantined")
    assert "1 of 1 that match; 6 in" in listed.out
    # As in the SDK, statuses to include come besides approved sessions.
    arc("export", *words, "--include-status", "pending", "--status", "failed", "--batch-size", 1)
    assert {s.review_status for s in JsonlTraceStore("t.jsonl").sessions(ALL)} <= {
        "approved",
        "pending",
    }
    quiet = arc(*words, "--include-all-statuses", "--include-status", "approved", "--quiet")
    assert (quiet.code, quiet.out.strip(), quiet.err) == (0, "", "")
    assert len(list(JsonlTraceStore("t.jsonl").sessions(ALL))) == 6
    noted = arc(*words, "--trajectory-event-limit", 1, "--config", "c.yaml")
    assert noted.code == 0
    assert "--trajectory-event-limit, --config has no meaning here" in noted.err
    assert len(noted.err.strip().splitlines()) == 1


def test_sessions_are_listed_newest_first_and_the_rest_is_counted(
    atlas: Command, recorded: str
) -> None:
    done = atlas("review", "list", "--database-url", recorded, "--limit", "2")
    header, first, second, summary = done.out.strip().splitlines()
    assert header.split() == ["id", "created", "status", "review", "score", "task"]
    assert (first.split()[-3:], second.split()[-3:]) == (
        ["0.50", "Task", "5"],
        ["0.40", "Task", "4"],
    )
    assert summary.startswith("2 of 6 that match, 4 more; 6 in ")
    done = atlas("review", "list", "--database-url", recorded, "--max-reward", "0.1")
    assert "2 of 2 that match; 6 in" in done.out
    assert done.out.strip().endswith("left out: 4 by --max-reward")


def test_a_review_by_ids_or_by_filters_that_says_first_what_it_would_do(
    atlas: Command, recorded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = numbers = sorted(s.id or 0 for s in stored(recorded))
    words = ("--database-url", recorded)
    done = atlas("review", "quarantine", *words, first, numbers[-1], "--notes", "wrong")
    assert "2 session(s) are quarantined now" in done.out
    assert ids(recorded, "quarantined") == {first, numbers[-1]}

    by_filter = ("review", "approve", *words, "--status", "succeeded")
    asked = atlas(*by_filter)
    assert (asked.code, "--yes does it without asking" in asked.err) == (2, True)
    assert "3 session(s) become approved; they are: 1 quarantined, 2 pending" in asked.out
    assert ids(recorded, "approved") == set()
    assert "3 session(s) are approved now" in atlas(*by_filter, "--yes").out
    assert ids(recorded, "approved") == {n for n in numbers if numbers.index(n) % 2}
    assert "Nothing to change" in atlas(*by_filter, "--yes").out

    back = atlas("review", "reset", *words, *numbers)
    assert "4 session(s) are pending now; 2 had it before" in back.out
    assert ids(recorded, "pending") == set(numbers)
    for nothing in ((), (first, "--status", "failed")):
        refused = atlas("review", "approve", *words, *nothing)
        assert (refused.code, "by their ids or by filters" in refused.err) == (2, True)
    unknown = atlas("review", "approve", *words, first, 10**9)
    assert (unknown.code, "nothing was changed" in unknown.err) == (2, True)
    assert ids(recorded, "pending") == set(numbers)


async def _pages(db_url: str, **filters: list[str]) -> list[Session]:
    pages = paginate_sessions_async(db_url, page_size=1, **filters)  # pyright: ignore
    return [session async for page in pages for session in page]


def _readers(db_url: str, atlas: Command) -> Iterator[tuple[str, list[Session] | int]]:
    """What each reader finds among approved sessions."""
    approved = {"review_status_filters": ["approved"]}
    query = SessionQuery(**approved)
    yield "get", get_training_sessions(db_url, **approved)
    yield "get, async", asyncio.run(get_training_sessions_async(db_url, **approved))
    yield "pages", [s for page in paginate_sessions(db_url, page_size=1, **approved) for s in page]
    yield "pages, async", asyncio.run(_pages(db_url, **approved))
    yield "count", count_training_sessions(db_url, **approved)
    write_jsonl("all.jsonl", stored(db_url))
    yield "file", list(JsonlTraceStore("all.jsonl").sessions(query))
    yield "file, count", JsonlTraceStore("all.jsonl").count(query)
    atlas("export", "--database-url", db_url, "--output", "e.jsonl", "--review-status", "approved")
    yield "export", list(JsonlTraceStore("e.jsonl").sessions(ALL))


def test_every_reader_honours_the_review(atlas: Command, recorded: str) -> None:
    chosen = [s.id for s in stored(recorded)][1:3]
    atlas("review", "quarantine", "--database-url", recorded, "--min-reward", 0, "--yes")
    atlas("review", "approve", "--database-url", recorded, *chosen)
    for name, found in _readers(recorded, atlas):
        expected = len(chosen) if isinstance(found, int) else chosen
        assert (found if isinstance(found, int) else [s.id for s in found]) == expected, name


def test_lineage_says_what_became_of_the_sessions(atlas: Command, recorded: str) -> None:
    numbers = sorted(s.id or 0 for s in stored(recorded))
    run = RunDir.create("runs/sft", "sft")
    write_lineage(
        run.path,
        Lineage(
            source="PostgreSQL database atlas on h:5",
            train=tuple(map(str, [*numbers[:4], 10**9])),
            eval=("task:old",),
            num_samples={"train": 9, "eval": 1},
            filters={"status_filters": ["succeeded"], "min_reward": 0.8},
        ),
    )
    done = atlas("lineage", "runs/sft")
    assert done.code == 0, done.err
    for words in ("train:       5 sessions, 9 samples", "status_filters succeeded, min_reward 0.8"):
        assert words in done.out
    check = ("lineage", "runs/sft", "--check", "--database-url", recorded)
    atlas("review", "quarantine", "--database-url", recorded, numbers[1], numbers[5])
    found = atlas(*check)
    assert found.code == 1
    assert "missing:     1 of 6: 1000000000" in found.out
    assert f"quarantined: 1 of 6: {numbers[1]}" in found.out
    assert "unknown:     1 that no database gave a number" in found.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("export", "--output", "t.jsonl", "--database-url", "gone"), "gone isn't there"),
        (("export", "--output", ".", "--database-url", "gone"), "is a folder"),
        (("export", "--output", "t", "--since", "now"), "--since is 'now'"),
        (("review", "list", "--database-url", "postgresql://u:hush@[/d"), "db_url can't be read"),
        (("review", "approve"), "by their ids or by filters"),
        (("lineage", "gone"), "gone isn't there"),
        (("lineage", "."), "doesn't say what it was trained on"),
        (("collect", "tasks=gone.jsonl"), "gone.jsonl"),
        (("collect", "families=[chain_sums]"), "did you mean 'chain_sum'?"),
        (("collect", "families=[chain_sum]", "tasks=t.jsonl"), "contradict"),
        (("collect", "num_tasks=1", "db_url=postgresql://u:hush@localhost:1/d"), "can't open"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    atlas: Command, words: tuple[str, ...], message: str
) -> None:
    done = atlas(*words)
    assert done.code == (3 if message == "can't open" else 2)  # a database that isn't there
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert "hush" not in done.err
    assert not list(Path().iterdir())


def test_the_scripts_of_the_package_are_functions_of_the_command_line() -> None:
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    scripts = tomllib.loads(pyproject.read_text())["project"]["scripts"]
    assert scripts == {"atlas": "atlas.cli.app:main", "arc-atlas": "atlas.cli.app:arc_atlas"}
    assert all(callable(getattr(cli, place.split(":")[1])) for place in scripts.values())
