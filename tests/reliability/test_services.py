"""What a run needs goes away in the middle: its database, its judges.

The commands run in this process, so that the fault falls between two pages, or two calls.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from tests.integration.test_training_commands import GRPO, SFT, atlas, done, refusal, sessions
from tests.unit.endpoint.chat_server import Answer, ChatServer, error
from tests.unit.rewards.judge_server import agree

from atlas.endpoint import outage
from atlas.run.lineage import read_lineage
from atlas.traces.embedded import watch
from atlas.traces.embedded.server import EmbeddedPostgres
from atlas.traces.jsonl import write_jsonl
from atlas.traces.postgres import reading
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.postgres.writing import write_sessions

COMMANDS = {
    "sft": ("sft", "teacher_sft", "data=runtime_pg", *SFT, "output_dir=run"),
    "grpo": ("grpo", "teacher_rcl", "data=runtime_pg", *GRPO, "output_dir=run", "max_steps=1"),
    "export": ("export", "--output", "run.jsonl"),
}

JUDGED = ("rim_config=judges.yaml", "reward=rim_offline", "reward_judge_gated=false")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Database:
    """A server of our own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.server = EmbeddedPostgres.start(folder)
        self.starts = 1

    def kill(self) -> None:
        """Kill the server; what serves its connections ends by itself."""
        server = psutil.Process(int(watch.pid_lines(self._folder)[0]))
        server.kill()
        while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)

    def start(self) -> None:
        """Start it again, in its place."""
        before = self.server.db_url
        self.server.close()
        self.server = EmbeddedPostgres.start(self._folder)
        self.starts += 1
        assert self.server.db_url == before


@pytest.fixture
def database(server_folder: Path) -> Iterator[Database]:
    database = Database(server_folder / "pg")
    write_sessions(database.server.db_url, sessions())
    yield database
    database.server.close()


def at_the_second_page(monkeypatch: pytest.MonkeyPatch, fault: Callable[[], None]) -> None:
    """Read in pages of nine sessions, and let something happen before the second is read."""
    init = PostgresTraceStore.__init__

    def small(store: PostgresTraceStore, db_url: str, **options: Any) -> None:
        init(store, db_url, **{**options, "page_size": 9})

    monkeypatch.setattr(PostgresTraceStore, "__init__", small)
    read_page, pages = reading.read_page, list[Sequence[int]]()

    def read(connection: Any, *, page: Any, **options: Any) -> Any:
        if page not in pages:
            pages.append(page)
            if len(pages) == 2:
                fault()
        return read_page(connection, page=page, **options)

    monkeypatch.setattr(reading, "read_page", read)


def from_here(job: str, database: Database) -> tuple[str, ...]:
    """Return a command that reads the database."""
    url = database.server.db_url
    return (*COMMANDS[job], *(("--database-url", url) if job == "export" else (f"db_url={url}",)))


def rows(job: str) -> Sequence[str]:
    """Return which sessions a command read, as often as it did."""
    if job == "export":
        return [json.loads(line)["id"] for line in Path("run.jsonl").read_text().splitlines()]
    lineage = read_lineage("run")
    return sorted([*lineage.train, *lineage.eval], key=int)


@pytest.mark.parametrize("job", COMMANDS)
def test_a_database_that_is_killed_and_comes_back_costs_no_session(
    job: str, folder: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def restart() -> None:
        database.kill()
        database.start()

    at_the_second_page(monkeypatch, restart)
    done(*from_here(job, database))
    assert database.starts == 2
    found = list(map(int, rows(job)))
    wanted = range(40, 0, -1) if job == "export" else range(1, 41)
    assert found == [n for n in wanted if job != "sft" or n % 3]
    assert list(folder.glob("*.tmp")) == []


@pytest.mark.parametrize("job", ["sft", "export"])
def test_a_database_that_stays_away_ends_the_command_which_then_goes_on(
    job: str, folder: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        assert PostgresTraceStore.__init__.__kwdefaults__
        patched.setitem(PostgresTraceStore.__init__.__kwdefaults__, "retry_s", 0.2)
        at_the_second_page(patched, database.kill)
        assert "PostgreSQL database postgres on" in refusal(*from_here(job, database))
    assert not {"run", "run.jsonl"} & {path.name for path in folder.iterdir()}
    database.start()
    done(*from_here(job, database))
    assert len(rows(job)) == (27 if job == "sft" else 40)


def test_judges_that_are_down_for_a_while_cost_abstentions_and_the_run_ends_well(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """From call 9 on no call is answered, until the run has said that it pauses."""
    monkeypatch.setattr(outage, "FIRST_WAIT_S", 0.01)

    def answer(request: dict[str, Any], number: int) -> Answer:
        down = number >= 8 and "calls of the judges pause" not in caplog.text
        return error(503, "overloaded") if down else agree(request)

    with ChatServer(answer) as server:
        judges = {
            "active_judges": {"process": True},
            "small": {"base_url": server.url, "model": "judge-model", "max_retries": 0},
            "temperatures": [0.2],
            "cache_path": None,
            "abstention_window": 4,
        }
        (folder / "judges.yaml").write_text(yaml.safe_dump(judges))
        write_jsonl("traces.jsonl", sessions())
        words = ("grpo", "teacher_rcl", "data=runtime_traces", "export_path=traces.jsonl", *GRPO)
        result = atlas(*words, "max_steps=4", "num_generations=4", *JUDGED)
    assert result.exit_code == 0, result.output
    assert "calls of the judges go on" in caplog.messages[-1]
    run = Path("checkpoints/grpo")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    abstained = [line["judges/abstention_rate"] for line in lines]
    assert max(abstained) > 0 == min(abstained)
