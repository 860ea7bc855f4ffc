"""The launcher, with small programs in the places of vLLM and of the training."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import ClassVar

import pytest
from tests.unit.serve.fake_server import fake_interpreter

from atlas.cli.serve import launch_with_server as command
from atlas.cli.serve.launch_with_server import LaunchOptions, LaunchPlan, parse, plan
from atlas.errors import AtlasError
from atlas.serve.settings import ServerSettings
from atlas.serve.supervisor import Supervisor

RCL = "configs/run/teacher_rcl.yaml"


def free_pair() -> int:
    """A port that is free together with the next one."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("ATLAS_SERVE_PYTHON", str(fake_interpreter(tmp_path).python))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def model(folder: Path) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps({"hidden_size": 64, "num_attention_heads": 2, "max_position_embeddings": 512})
    )
    return str(folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["1", "2", RCL], "Write --server-gpus 1 --train-gpus 2"),
        (["1", "1", RCL], "none can be seen; 0 0 does it all on the CPU"),
        (["0", "0"], "say which configuration"),
        (["0", "0", "beta=0.1"], "say which configuration"),
        (["0", "0", "configs/run/teacher_sft.yaml"], "the job sft, which needs no server"),
        (["0", "0", RCL, "betta=1"], "betta"),
        (["0", "0", RCL, "model_name_or_path=no/such/folder"], "there is no folder no/such/folder"),
    ],
)
@pytest.mark.usefixtures("fake")
def test_what_is_wrong_is_found_before_anything_starts(words: list[str], message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        plan(LaunchOptions(words=list(words)))


@pytest.mark.usefixtures("fake")
def test_what_is_started(tmp_path: Path) -> None:
    teacher, student, port = model(tmp_path / "t"), model(tmp_path / "s"), free_pair()
    settings = [f"model_name_or_path={teacher}", f"student_model={student}", "beta=0.1"]
    planned = plan(LaunchOptions(words=["0", "0", RCL, *settings], port=port))
    assert [server.model for server in planned.servers] == [teacher, student]
    assert [server.port for server in planned.servers] == [port, port + 1]
    assert [server.max_model_len for server in planned.servers] == [512, 512]
    assert [server.dtype for server in planned.servers] == ["float32", "float32"]
    assert planned.train_gpus == ""
    launch = planned.command.index("launch")
    assert planned.command[launch + 1 :] == (
        "1",
        RCL,
        "--",
        *settings,
        "rollout_engine=vllm",
        f"vllm_server_url=http://127.0.0.1:{port}",
        f"student_server_url=http://127.0.0.1:{port + 1}",
    )


@pytest.mark.usefixtures("fake")
def test_the_teachers_server_makes_room_for_its_adapter(tmp_path: Path) -> None:
    models = [
        f"model_name_or_path={model(tmp_path / 't')}",
        f"student_model={model(tmp_path / 's')}",
    ]
    for words, ranks in (([], [None, None]), (["use_peft=true", "lora_r=4"], [4, None])):
        planned = plan(LaunchOptions(words=["0", "0", RCL, *models, *words], port=free_pair()))
        assert [server.lora_rank for server in planned.servers] == ranks


@pytest.mark.usefixtures("fake")
def test_servers_and_training_get_gpus_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    gpu = fake_interpreter(tmp_path).__class__(python=Path("py"), version="0.32.0", cpu=False)
    monkeypatch.setattr("atlas.serve.interpreter.find_interpreter", lambda: gpu)
    teacher, student = model(tmp_path / "t"), model(tmp_path / "s")
    words = ("1", "1", RCL, f"model_name_or_path={teacher}", f"student_model={student}")
    planned = plan(LaunchOptions(words=words, port=free_pair()))
    assert [server.gpus for server in planned.servers] == ["3", "3"]
    assert [server.gpu_memory_utilization for server in planned.servers] == [0.45, 0.45]
    assert planned.train_gpus == "5"


def test_a_build_for_cpus_serves_on_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: None
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(AtlasError, match="is built for CPUs"):
        plan(LaunchOptions(words=["1", "1", RCL]))


def test_words_are_taken_apart() -> None:
    assert parse(["2", "2", RCL, "beta=1"]) == ([2, 2], RCL, ["beta=1"])
    assert parse([RCL, "+offload"]) == ([], RCL, ["+offload"])


def started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> tuple[object, list[Path]]:
    """Run the launcher with this training; return its exit code and the servers' logs."""
    port = free_pair()
    settings = [ServerSettings(model=f"m{i}", port=port + i) for i in range(2)]
    planned = LaunchPlan(
        servers=(settings[0], settings[1]),
        interpreter=fake_interpreter(tmp_path),
        command=("sh", "-c", script.format(port=port, folder=tmp_path)),
        train_gpus="",
    )
    monkeypatch.setattr(command, "plan", lambda request: planned)
    logs = [tmp_path / f"atlas-serve-{os.getuid()}" / f"{port + i}.log" for i in range(2)]
    with pytest.raises(SystemExit) as ended:
        command.launch_with_server(words=[])
    return ended.value.code, logs


def all_gone(logs: list[Path]) -> bool:
    pids = [int(log.read_text().split("pid ")[-1].split()[0]) for log in logs]
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.usefixtures("fake")
def test_the_trainings_exit_code_is_passed_on_and_the_servers_are_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = "import urllib.request as u;u.urlopen('http://127.0.0.1:{port}/health')"
    code, logs = started(tmp_path, monkeypatch, f'python3 -c "{asks}" && exit 5')
    assert code == 5
    assert all_gone(logs)


@pytest.mark.usefixtures("fake")
def test_a_crash_of_the_training_stops_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, logs = started(tmp_path, monkeypatch, "kill -SEGV $$")
    assert code == 128 + 11
    assert all_gone(logs)


@pytest.mark.usefixtures("fake")
def test_ctrl_c_reaches_the_training_once_and_then_everything_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "trap 'echo x >> {folder}/asked; exit 130' INT; "
        f"kill -INT {os.getpid()}; while :; do sleep 0.1; done"
    )
    code, logs = started(tmp_path, monkeypatch, script)
    assert code == 130
    assert (tmp_path / "asked").read_text() == "x\n"
    assert all_gone(logs)


@pytest.mark.usefixtures("fake")
def test_a_server_that_dies_twice_ends_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = f"{{folder}}/atlas-serve-{os.getuid()}/{{port}}.log"
    pid = f"$(sed -n 's/.*for pid //p' {log})"
    kill_twice = (
        f"first={pid}; kill -9 $first; "
        f"until [ -s {log} ] && [ {pid} != $first ]; do sleep 0.1; done; "
        "until python3 -c \"import socket as s; s.create_connection(('127.0.0.1', {port}))\" "
        f"2>/dev/null; do sleep 0.1; done; sleep 0.5; kill -9 {pid}; sleep 600"
    )
    with pytest.raises(AtlasError, match=r"ended by signal 9 .* s after it was started again"):
        started(tmp_path, monkeypatch, kill_twice)


@pytest.mark.parametrize(("gpus", "one_after_the_other"), [(("3", "3"), True), (("3", "5"), False)])
@pytest.mark.usefixtures("fake")
def test_servers_on_one_gpu_start_one_after_the_other(
    gpus: tuple[str, str],
    one_after_the_other: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """vLLM takes for its own whatever comes onto its GPU while it loads."""
    others: list[list[bool]] = []

    class Watched(Supervisor):
        known: ClassVar[list[Supervisor]] = []

        def start(self) -> None:
            others.append([other.ready for other in self.known])
            self.known.append(self)
            super().start()

    monkeypatch.setattr("atlas.serve.supervisor.Supervisor", Watched)
    settings = [ServerSettings(model=f"m{gpu}", port=0, gpus=gpu) for gpu in gpus]
    planned = LaunchPlan(
        servers=(settings[0], settings[1]),
        interpreter=fake_interpreter(tmp_path),
        command=("true",),
        train_gpus="",
    )
    monkeypatch.setattr(command, "plan", lambda request: planned)
    with pytest.raises(SystemExit) as ended:
        command.launch_with_server(words=[])
    assert ended.value.code == 0
    assert others == [[], [one_after_the_other]]
