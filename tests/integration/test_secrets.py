"""A secret is in nothing that a run leaves or says: passwords, keys of judges, trackers and hubs.

Each is planted with one word in it, which is then looked for in all output and in every file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_training_commands import GRPO, SFT, atlas, sessions
from tests.unit.endpoint.chat_server import Answer, ChatServer, error
from tests.unit.rewards.judge_server import agree
from typer.testing import Result

from atlas.cli.faults import _report
from atlas.serve.connection import Connection, ControlError
from atlas.traces.jsonl import write_jsonl
from atlas.traces.postgres.writing import write_sessions

PLANTED = "Pl4nted"
KEY = f"sk-{PLANTED}-0123456789abcdef0123456789abcdef0123"
PROXY = f"http://me:{PLANTED}@127.0.0.1:9"
FROM_FILE = ("data=runtime_traces", "export_path=traces.jsonl", "output_dir=run", "save_steps=1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with recorded sessions, in an environment full of secrets."""
    monkeypatch.chdir(tmp_path)
    for name in ("HF_TOKEN", "WANDB_API_KEY", "JUDGE_KEY", "OPENAI_API_KEY", "VLLM_API_KEY"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("DATABASE_URL", f"postgresql://me:{PLANTED}@127.0.0.1:1/traces")
    monkeypatch.setenv("http_proxy", PROXY)
    monkeypatch.setenv("https_proxy", PROXY)
    write_jsonl("traces.jsonl", sessions())
    return tmp_path


def refuse_leaks(folder: Path, said: Iterable[Result], wanted: set[str]) -> None:
    """Look for the planted word in all that was said and written."""
    for result in said:
        assert PLANTED not in result.output + str(result.exception)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert wanted <= {path.name for path in files}
    assert [path for path in files if PLANTED.encode() in path.read_bytes()] == []


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
    refuse_leaks(tmp_path, said, {"config.yaml", "training.log", "state.pt", "t.jsonl"})


def test_what_trackers_note_holds_no_secret(
    folder: Path, fresh_db_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="the extra trackers isn't installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for place in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(place, str(folder / "wandb home"))
    write_sessions(fresh_db_url, sessions())
    secret = f"db_url={fresh_db_url.replace('@', f':{PLANTED}@', 1)}"
    from_database = ("data=runtime_pg", secret, "output_dir=run")
    words = ("sft", "teacher_sft", *from_database, *SFT, "report_to=[wandb]")
    monkeypatch.setattr(sys, "argv", ["atlas", *words])
    done = atlas(*words)
    wandb.teardown()
    assert done.exit_code == 0, done.output
    refuse_leaks(folder, [done, atlas("report", "run")], {"config.yaml", "training.log"})
    assert list((folder / "run").rglob("*.wandb"))


def judged(folder: Path, url: str) -> tuple[str, ...]:
    (folder / "judges.yaml").write_text(
        f"active_judges: {{process: true}}\nsmall: {{base_url: '{url}', api_key_env: JUDGE_KEY, "
        "model: judge-model, max_retries: 1}\ncache_path: cache.sqlite\n"
    )
    return (
        "grpo",
        "teacher_rcl",
        *FROM_FILE,
        *GRPO,
        "rim_config=judges.yaml",
        "reward=hybrid",
        "reward_judge_gated=false",
    )


def test_a_judges_key_is_nowhere_though_the_judge_repeats_it(folder: Path) -> None:
    def sometimes(request: dict[str, Any], number: int) -> Answer:
        return error(500, f"bad key {KEY}, by {PROXY}") if number % 5 == 0 else agree(request)

    with ChatServer(sometimes) as server:
        words = judged(folder, server.url)
        done = atlas(*words)
    assert done.exit_code == 0, done.output
    assert any(KEY in key for key in server.keys)  # it was sent where it belongs
    written = {"config.yaml", "training.log", "rim_explanations.jsonl", "cache.sqlite"}
    refuse_leaks(folder, [done, atlas("report", "run")], written)


@pytest.mark.parametrize("status", [401, 403, 404, 400])
def test_a_judge_that_refuses_ends_in_a_line_without_its_key(folder: Path, status: int) -> None:
    with ChatServer(lambda *_: error(status, f"no access with {KEY}")) as server:
        words = judged(folder, server.url.replace("http://", f"http://me:{PLANTED}@"))
        (folder / "judges.yaml").rename(folder.parent / f"judges-{folder.name}.yaml")
        words = tuple(
            word.replace("judges.yaml", f"../judges-{folder.name}.yaml") for word in words
        )
        done = atlas(*words, "max_steps=1")
    assert (done.exit_code != 0) == (status != 400), done.output  # which concerns one text
    assert server.requests
    refuse_leaks(folder, [done], set())


@pytest.mark.parametrize(
    "small",
    [
        f"api_key: {KEY}",
        f"api_key_env: {KEY}",
        f"api_key_env: gsk_{PLANTED}",
        f"base_url: 'http://me:{PLANTED}@host:x/v1'",
        f"base_url: 'http://host/v1?key={PLANTED}', timeout_s: '{KEY}'",
        f"headers: {{Authorization: {KEY}}}",
    ],
)
def test_a_key_that_is_written_into_a_file_of_judges_is_not_repeated(
    folder: Path, small: str
) -> None:
    words = judged(folder, "http://127.0.0.1:1")
    (folder.parent / f"keys-{folder.name}.yaml").write_text(
        f"active_judges: {{process: true}}\nsmall: {{{small}}}\n"
    )
    (folder / "judges.yaml").unlink()
    done = atlas(*words, f"rim_config=../keys-{folder.name}.yaml")
    assert done.exit_code != 0
    refuse_leaks(folder, [done], set())


@pytest.mark.parametrize(
    "words",
    [
        ("model_name_or_path=some/model-that-isnt-there",),
        ("data=hub", "dataset_name_or_path=some/set-that-isnt-there"),
        ("data=runtime_pg", f"db_url=postgresql://me:{PLANTED}@127.0.0.1:1/d"),
        ("data=runtime_pg", f"db_url=host=127.0.0.1 port=1 password='{PLANTED} x'"),
        (f"hf_token={KEY}",),
        (f"learning_rate=http://me:{PLANTED}@h",),
    ],
)
def test_an_error_repeats_no_secret(
    folder: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = atlas("sft", "teacher_sft", *FROM_FILE, *SFT, *words)
    assert done.exit_code != 0
    refuse_leaks(folder, [done], set())


@pytest.mark.parametrize("url", [f"http://me:{PLANTED}@127.0.0.1:1", f"http://{PLANTED}@h:1"])
def test_the_address_of_a_server_holds_no_password(folder: Path, url: str) -> None:
    words = ("rollout_engine=vllm", f"vllm_server_url=[{url}]")
    done = atlas("grpo", "teacher_rcl", *FROM_FILE, *GRPO, *words)
    assert "holds a password" in str(done.exception)
    refuse_leaks(folder, [done], set())


def test_a_servers_token_is_not_repeated_though_the_server_does() -> None:
    token = f"token-{PLANTED}"
    with ChatServer(lambda *_: error(500, f"bad token {token} or key {KEY}")) as server:
        connection = Connection(server.url, token, api_key=KEY)
        with pytest.raises(ControlError, match=r"bad token \*\*\* or key \*\*\*"):
            connection.post("/pause", {"messages": []}, phase="pause", deadline_s=10)


def test_a_crash_report_holds_no_secret(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["atlas", "sft", f"db_url=postgresql://me:{PLANTED}@h/d"])
    Path("config.yaml").write_text(f"judge_api_key: {KEY}\nurl: https://{PLANTED}@h\n")
    report = _report(RuntimeError(f"no connection by {PROXY} with api_key={KEY}"), folder)
    assert "no connection" in report
    assert PLANTED not in report
