"""A password in ``db_url`` is in nothing that a run leaves or says, however it is spelt."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.test_training_commands import SFT, atlas, sessions

from atlas.traces.postgres.writing import write_sessions

PLANTED = "Pl4nted"


@pytest.mark.parametrize("password", [f"{PLANTED}%40x%2Fy", f"{PLANTED}:x"])
def test_a_password_is_nowhere(
    password: str, fresh_db_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sessions(fresh_db_url, sessions())
    scheme, _, rest = fresh_db_url.partition("://")
    user, _, place = rest.partition("@")
    with_password = f"db_url={scheme}://{user}:{password}@{place}"
    words = ("data=runtime_pg", *SFT, "output_dir=run", "save_steps=1")
    said = [
        atlas("sft", "teacher_sft", with_password, *words, "--dry-run"),
        atlas("sft", "teacher_sft", with_password, *words),
        atlas("sft", "teacher_sft", with_password, *words),  # is finished
        atlas("resume", "run", with_password),
        atlas("report", "run"),
        atlas("doctor", "run"),
        atlas(
            "export", "--database-url", with_password.removeprefix("db_url="), "--output", "t.jsonl"
        ),
        atlas("lineage", "run/final"),
    ]
    assert said[1].exit_code == 0, said[1].output
    for result in said:
        assert PLANTED not in result.output + str(result.exception)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"config.yaml", "training.log", "state.pt", "t.jsonl"} <= {path.name for path in files}
    assert [path for path in files if PLANTED.encode() in path.read_bytes()] == []
