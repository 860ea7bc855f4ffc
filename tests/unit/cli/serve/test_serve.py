"""``trainers/vllm_server.py`` as a user runs it, with a small program in the place of vLLM."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.unit.serve.fake_server import fake_interpreter

from atlas.cli.serve.serve import curl_lines, exit_code
from atlas.serve.settings import ServerSettings

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "final"
    folder.mkdir()
    (folder / "config.json").write_text(
        '{"hidden_size": 64, "num_attention_heads": 2, "max_position_embeddings": 512}'
    )
    return folder


def start(folder: Path, *words: str, fake: str = "") -> subprocess.Popen[str]:
    environ = {
        **os.environ,
        "ATLAS_SERVE_PYTHON": str(fake_interpreter(folder).python),
        "XDG_RUNTIME_DIR": str(folder),
        "FAKE": fake,
    }
    return subprocess.Popen(
        [sys.executable, str(ROOT / "trainers" / "vllm_server.py"), *words],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def read_until(server: subprocess.Popen[str], pattern: str) -> str:
    assert server.stdout is not None
    text = ""
    while not re.search(pattern, text):
        line = server.stdout.readline()
        assert line, text
        text += line
    return text


def test_ready_says_how_to_ask_and_ctrl_c_ends_it(tmp_path: Path, model: Path) -> None:
    port = free_port()
    flags = ("--tensor-parallel-size", "2", "--gpu-memory-utilization", "0.9")
    server = start(tmp_path, "--model", str(model), "--port", str(port), *flags, "--seed", "3")
    text = read_until(server, f"curl http://127.0.0.1:{port}/v1/models")
    assert f"curl http://127.0.0.1:{port}/health" in text
    assert "--tensor-parallel-size 2 is read as 1" in text
    assert "--gpu-memory-utilization has no meaning" in text
    pid = int(re.findall(r"serving for pid (\d+)", text)[0])
    assert Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").endswith("--seed\x003")
    server.send_signal(signal.SIGINT)
    out, err = server.communicate(timeout=30)
    assert (server.returncode, err) == (0, "")
    assert "Stopping the server" in out
    assert not Path(f"/proc/{pid}").exists()


def test_its_exit_code_and_its_last_lines_are_passed_on(tmp_path: Path, model: Path) -> None:
    server = start(tmp_path, "--model", str(model), "--port", str(free_port()), fake="dies")
    _, err = server.communicate(timeout=60)
    assert server.returncode == 3
    assert err.startswith("atlas: the server of")
    assert "ValueError: no room left" in err


def test_a_mistake_is_one_line_before_anything_starts(tmp_path: Path, model: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = start(tmp_path, "--model", str(model), "--port", str(taken.getsockname()[1]))
        out, err = server.communicate(timeout=60)
    assert server.returncode == 2
    assert "is in use" in err
    assert (out, err.count("\n")) == ("", 1)
    assert not list(tmp_path.glob("atlas-serve-*/*.log"))


def test_the_killed_launcher_takes_its_server_along(tmp_path: Path, model: Path) -> None:
    """What ends it is in ``vllm_process.py``, here with the small program as vLLM."""
    code = (
        "import time, types; from atlas.serve.inside import vllm_process as v; "
        "v._LOOK_EVERY_S = 0.05; v.runpy = types.SimpleNamespace(run_module=lambda *a, **k: "
        "time.sleep(600)); v.main()"
    )
    parent = subprocess.Popen(
        ["sh", "-c", f"setsid {sys.executable} -c '{code}' & echo $!; wait"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    stat = Path(f"/proc/{child}/stat")
    time.sleep(0.5)
    assert stat.exists()
    parent.kill()
    parent.wait()
    for _ in range(200):
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.02)
    os.kill(child, 9)
    raise AssertionError("it lives on")


def test_curl_lines_ask_for_the_key() -> None:
    settings = ServerSettings(model="m", port=8765, api_key="secret")
    assert curl_lines(settings) == [
        "curl http://127.0.0.1:8765/health",
        'curl http://127.0.0.1:8765/v1/models -H "Authorization: Bearer $VLLM_API_KEY"',
    ]


def test_exit_codes() -> None:
    assert [exit_code(code) for code in (0, 3, -9, None)] == [0, 3, 137, 3]


def test_a_server_is_started_without_loading_torch() -> None:
    code = (
        "import sys, atlas.serve.checks, atlas.serve.supervisor, atlas.serve.job; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
