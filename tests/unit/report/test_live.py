"""The page of a run that goes on, over a real connection."""

import gzip
import http.client
import json
import threading
from contextlib import closing, contextmanager

import pyarrow
import pyarrow.parquet
import pytest

from atlas.errors import AtlasError
from atlas.report.live import LOOPBACK, Watcher, chosen_run
from atlas.run.run_dir import RunDir


@contextmanager
def watched(run):
    with Watcher(run, seconds=0.01) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def asked(server, path, host=None):
    """The status of a reply, and its text."""
    with closing(http.client.HTTPConnection(*server.server_address, timeout=60)) as connection:
        connection.request("GET", path, headers={"Host": host} if host else {})
        reply = connection.getresponse()
        return reply.status, gzip.decompress(reply.read()).decode()


@pytest.fixture
def run(fake_run):
    return RunDir.open(fake_run)


def test_the_page_its_rollouts_and_nothing_else(run):
    run.path.joinpath("grpo", "rollouts").mkdir()
    for step in (1, 2):
        table = pyarrow.Table.from_pylist([{"step": step, "reward": 1.0}])
        place = run.path / "grpo" / "rollouts" / f"step_00000{step}.parquet"
        pyarrow.parquet.write_table(table, place)
    with watched(run) as server:
        status, page = asked(server, "/")
        assert status == 200
        assert "data-live" in page
        assert "connect-src" in page
        later = json.loads(asked(server, "/rollouts?after=1")[1])
        assert [chunk["columns"]["step"] for chunk in later] == [[2]]
        every = json.loads(asked(server, "/rollouts?after=x&pairs=1")[1])
        assert [chunk["count"] for chunk in every] == [120, 2]
        assert asked(server, "/../run.json")[0] == 404


def test_it_answers_to_names_of_this_machine_alone(run):
    with watched(run) as server:
        assert server.server_address[0] == LOOPBACK
        assert asked(server, "/", "localhost:1")[0] == 200
        assert asked(server, "/", "somewhere.example")[0] == 403


def test_what_changes_and_what_is_logged_is_told(run):
    run.note("grpo", "1/3")
    with watched(run) as server:
        events = server.events()
        assert next(events) == ("log", next(iter(run.log.read_text().splitlines())))
        assert next(events) == ("", None)
        with (run.path / "grpo" / "metrics.jsonl").open("a") as file:
            file.write("{}\n")
        assert next(events) == ("changed", None)


def test_a_port_that_is_taken_is_said(run):
    with watched(run) as server, pytest.raises(AtlasError, match="give another --port"):
        Watcher(run, server.server_address[1])


def test_without_a_name_it_is_the_run_in_use_or_else_the_newest(tmp_path):
    with pytest.raises(AtlasError, match="name one: atlas watch RUN"):
        chosen_run(tmp_path)
    runs = [RunDir.create(tmp_path / "runs" / name, "sft") for name in ("a", "b", "c")]
    runs[1].note("sft", "newest")
    assert chosen_run(tmp_path).path == runs[1].path
    with runs[2].lock():
        assert chosen_run(tmp_path).path == runs[2].path
