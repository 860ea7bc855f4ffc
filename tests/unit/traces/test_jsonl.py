from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas.errors import AtlasError
from atlas.session import Plan, PlanStep, Session, Step
from atlas.traces.jsonl import BrokenLine, JsonlTraceStore, write_jsonl
from atlas.traces.store import SessionQuery

ALL = SessionQuery()


def read(path, **options) -> list[Session]:
    return list(JsonlTraceStore(path, **options).sessions(ALL))


@pytest.mark.parametrize("name", ["traces.jsonl", "traces.jsonl.gz"])
@given(data=st.data())
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_sessions_come_back_equal(name, data, storable_sessions, tmp_path):
    drawn = data.draw(st.lists(storable_sessions, max_size=3))
    sessions = [replace(session, id=number) for number, session in enumerate(drawn)]

    assert write_jsonl(tmp_path / name, sessions) == len(sessions)
    assert read(tmp_path / name) == sessions


def test_ids_and_steps_that_share_an_id_come_back(tmp_path, make_session):
    twice = Plan(steps=(PlanStep(id=1, description="a"), PlanStep(id=1, description="b")))
    session = make_session(id=7, plan=twice, steps=(Step(id=1), Step(id=1, output="again")))
    write_jsonl(tmp_path / "t.jsonl", [session])

    [again] = read(tmp_path / "t.jsonl")
    assert again == session
    assert again.id == 7


def test_a_gzip_name_makes_a_gzip_file_equal_for_equal_sessions(tmp_path, make_session):
    sessions = [make_session(number) for number in range(3)]
    for folder in ("a", "b"):
        write_jsonl(tmp_path / folder / "t.jsonl.gz", sessions)

    first, second = ((tmp_path / folder / "t.jsonl.gz").read_bytes() for folder in ("a", "b"))
    assert first[:2] == b"\x1f\x8b"
    assert first == second


def good_line(number: int) -> str:
    return json.dumps({"format": "atlas.session/1", "task": f"task {number}"})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"task": "t"', "Expecting ',' delimiter"),
        (b"[1]", "expected an object, found a list"),
        (b'{"task": 1}', "'task' is missing or no text"),
        (b'{"task": "\xff"}', "no UTF-8: invalid start byte at byte 10"),
        (b'{"task": "t", "reward_stats": {"score": NaN}}', "NaN is no JSON"),
        (b'{"format": "atlas.session/2", "task": "t"}', "another format"),
        (b"[" * 100_000, "nested"),
    ],
)
def test_a_broken_line_is_named_and_skipped_only_when_told_so(tmp_path, line, reason):
    path = tmp_path / "t.jsonl"
    path.write_bytes(
        f"{good_line(1)}\n\n".encode() + line + f"\n{good_line(4)}\n{good_line(5)}".encode()
    )

    with pytest.raises(AtlasError, match=rf"t\.jsonl, line 3: .*{reason}"):
        read(path)
    store = JsonlTraceStore(path, on_broken="skip")
    assert [session.task for session in store.sessions(ALL)] == ["task 1", "task 4", "task 5"]
    assert [broken.line for broken in store.broken] == [3]
    assert store.count(ALL) == 3
    assert len(store.broken) == 1


def test_text_that_nothing_can_store_is_marked(tmp_path, make_session):
    broken = make_session(task="a \ud83d b \x00", steps=(Step(id=1, output="\udc00"),))
    write_jsonl(tmp_path / "t.jsonl", [broken])

    [again] = read(tmp_path / "t.jsonl")
    assert again.task == "a \ufffd b \ufffd"
    assert again.steps[0].output == "\ufffd"


def test_an_id_that_comes_twice_is_the_first_session_s(tmp_path, make_session):
    path = tmp_path / "t.jsonl"
    write_jsonl(path, [make_session(number, id=number % 2) for number in range(4)])

    assert [session.id for session in read(path)] == [0, 1, None, None]
    only_late = SessionQuery(offset=2)
    assert [session.id for session in JsonlTraceStore(path).sessions(only_late)] == [None, None]


def test_a_cut_gzip_file_loses_only_its_end(tmp_path, make_session):
    path = tmp_path / "t.jsonl.gz"
    write_jsonl(path, [make_session(number, metadata={"n": number}) for number in range(2000)])
    path.write_bytes(path.read_bytes()[:-2000])

    with pytest.raises(AtlasError, match="compressed file is damaged"):
        read(path)
    store = JsonlTraceStore(path, on_broken="skip")
    found = [session.metadata["n"] for session in store.sessions(ALL)]
    assert found == list(range(len(found)))
    assert 1000 < len(found) < 2000
    assert isinstance(store.broken[0], BrokenLine)


def test_a_failed_write_leaves_the_old_file(tmp_path, make_session):
    path = tmp_path / "t.jsonl"
    write_jsonl(path, [make_session(1)])

    with pytest.raises(AtlasError, match=r"t\.jsonl, session 1 is no JSON"):
        write_jsonl(path, [make_session(2), make_session(3, metadata={"x": float("inf")})])
    assert read(path) == [make_session(1)]
    assert [file.name for file in tmp_path.iterdir()] == ["t.jsonl"]


def test_filters_limit_offset_and_pages_hold_for_files(tmp_path, make_session):
    path = tmp_path / "t.jsonl"
    statuses = ["failed", "succeeded"] * 4
    write_jsonl(
        path, [make_session(number, status=status) for number, status in enumerate(statuses)]
    )
    store = JsonlTraceStore(path, page_size=2)
    query = SessionQuery(status_filters=["succeeded"], offset=1, limit=3)

    pages = [[session.metadata["number"] for session in page] for page in store.pages(query)]
    assert pages == [[3, 5], [7]]
    assert store.count(query) == 4
    numbers = [
        session.metadata["number"]
        for session in store.sessions(SessionQuery(offset=6, limit=2**63 - 1))
    ]
    assert numbers == [6, 7]


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(AtlasError, match="can't read"):
        read(tmp_path / name)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(AtlasError, match="can't write"):
        write_jsonl(tmp_path / "file" / "t.jsonl", [])
