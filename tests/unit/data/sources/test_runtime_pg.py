"""A real PostgreSQL as a source, equal to the JSONL file with the same sessions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.data.sources.recorded import recorded

from atlas.data.sources.runtime_pg import get_runtime_pg_dataset
from atlas.data.sources.runtime_traces import get_runtime_trace_dataset
from atlas.errors import AtlasError
from atlas.traces.jsonl import write_jsonl
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.postgres.writing import write_sessions
from atlas.traces.store import SessionQuery


def test_a_database_and_its_export_give_the_same(fresh_db_url: str, tmp_path: Path) -> None:
    sessions = [
        recorded(number, good=number % 3 > 0, learning_key="a" if number % 2 else "b")
        for number in range(1, 41)
    ]
    write_sessions(fresh_db_url, sessions)
    path = tmp_path / "traces.jsonl"
    write_jsonl(path, PostgresTraceStore(fresh_db_url).sessions(SessionQuery()))
    for limit, key in ((None, None), (None, "a"), (7, None)):
        stored = get_runtime_pg_dataset(
            fresh_db_url, learning_key=key, limit=limit, eval_split_ratio=0.2
        )
        filed = get_runtime_trace_dataset(path, learning_key=key, limit=limit, eval_split_ratio=0.2)
        assert replace(filed, source=stored.source) == stored
        assert stored.sft.train
        assert limit or len(stored.rl.train) > len(stored.sft.train)
    assert stored.rl.num_read == 7
    newest = {name for prompt in (*stored.rl.train, *stored.rl.eval) for name in prompt.sessions}
    assert newest == {str(number) for number in range(34, 41)}


def test_the_place_is_named_without_the_password(fresh_db_url: str) -> None:
    assert get_runtime_pg_dataset(fresh_db_url).source.startswith("PostgreSQL database ")
    with pytest.raises(AtlasError, match="PostgreSQL database d on nowhere") as caught:
        get_runtime_pg_dataset("postgresql://me:secret@nowhere.invalid/d")
    assert "secret" not in str(caught.value)


def test_no_database_is_said() -> None:
    with pytest.raises(AtlasError, match="give db_url=postgresql"):
        get_runtime_pg_dataset()
