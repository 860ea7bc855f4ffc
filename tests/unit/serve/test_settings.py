from __future__ import annotations

from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.serve.interpreter import Interpreter
from atlas.serve.settings import ServerSettings, cpu_notes, server_command, server_environ

CPU = Interpreter(python=Path("py"), version="0.32.0", cpu=True)
GPU = Interpreter(python=Path("py"), version="0.32.0", cpu=False)
GUIDE = ServerSettings(
    model="Qwen/Qwen3-4B",
    port=8765,
    tensor_parallel_size=2,
    gpu_memory_utilization=0.9,
    max_model_len=2048,
)


def value(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1]


def test_the_guides_flags_reach_vllm_on_a_gpu() -> None:
    command = server_command(GUIDE, GPU, {})
    assert command[:3] == ["py", "-m", "atlas.serve.inside.vllm_process"]
    assert value(command, "--port") == "8765"
    assert value(command, "--host") == "127.0.0.1"
    assert value(command, "--tensor-parallel-size") == "2"
    assert value(command, "--gpu-memory-utilization") == "0.9"
    assert value(command, "--max-model-len") == "2048"
    assert "--enforce-eager" not in command
    assert cpu_notes(ServerSettings(model="m"), {}) == []


def test_on_a_cpu_they_are_read_for_what_they_mean_there() -> None:
    command = server_command(GUIDE, CPU, {})
    assert "--tensor-parallel-size" not in command
    assert "--gpu-memory-utilization" not in command
    assert "--enforce-eager" in command
    notes = cpu_notes(GUIDE, {"VLLM_CPU_KVCACHE_SPACE": "7"})
    assert "7 GB" in notes[0]
    assert "--tensor-parallel-size 2 is read as 1" in notes[1]


def test_bound_threads_split_the_model_on_a_cpu() -> None:
    environ = {"VLLM_CPU_OMP_THREADS_BIND": "0|1"}
    assert value(server_command(GUIDE, CPU, environ), "--tensor-parallel-size") == "2"
    assert len(cpu_notes(GUIDE, environ)) == 1


def test_secrets_are_in_the_environment_and_not_on_the_command_line(tmp_path: Path) -> None:
    settings = ServerSettings(model="m", api_key="sesame")
    environ = server_environ(
        settings, CPU, code=Path("code"), token=tmp_path / "token", environ={"PATH": "bin"}
    )
    assert environ["VLLM_API_KEY"] == "sesame"
    assert environ["ATLAS_CONTROL_TOKEN_FILE"] == str(tmp_path / "token")
    assert not any("sesame" in word for word in server_command(settings, CPU, {}))


def test_the_servers_environment(tmp_path: Path) -> None:
    inherited = {
        "PATH": "bin",
        "PYTHONPATH": "trainer",
        "VLLM_CPU_KVCACHE_SPACE": "4",
        "VLLM_ALLOW_INSECURE_SERIALIZATION": "1",
        "RANK": "0",
        "WORLD_SIZE": "8",
        "MASTER_PORT": "29500",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    settings = ServerSettings(model=str(tmp_path), gpus="2,3")
    environ = server_environ(
        settings, CPU, code=Path("code"), token=Path("token"), environ=inherited
    )
    assert environ["PYTHONPATH"] == "code"
    assert environ["VLLM_CPU_KVCACHE_SPACE"] == "4"
    assert environ["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert environ["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert environ["HF_HUB_OFFLINE"] == "1"
    assert "VLLM_ALLOW_INSECURE_SERIALIZATION" not in environ
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in environ
    # A training under torchrun may start it, and it is none of its processes.
    assert not any(name.startswith(("RANK", "WORLD", "MASTER", "TORCH")) for name in environ)


def test_every_server_has_the_gate_and_the_extension() -> None:
    command = server_command(ServerSettings(model="m"), GPU, {})
    assert value(command, "--middleware") == "atlas.serve.inside.gate.Gate"
    assert value(command, "--worker-extension-cls") == "atlas.serve.inside.worker.AtlasWorker"
    assert "--weight-transfer-config" not in command


@pytest.mark.parametrize(("rank", "served"), [(1, 1), (4, 8), (16, 16), (257, 320), (512, 512)])
def test_room_is_made_for_the_next_rank_that_vllm_knows(rank: int, served: int) -> None:
    command = server_command(ServerSettings(model="m", lora_rank=rank), GPU, {})
    assert value(command, "--max-lora-rank") == str(served)


def test_no_room_is_made_for_ranks_that_vllm_does_not_know() -> None:
    with pytest.raises(AtlasError, match="up to rank 512, not 513; lower lora_r"):
        server_command(ServerSettings(model="m", lora_rank=513), GPU, {})


def test_options_become_flags() -> None:
    settings = ServerSettings(
        model="m", lora_rank=16, transfer="nccl", extra=("--seed", "3"), served_name="policy"
    )
    command = server_command(settings, GPU, {})
    assert "--enable-lora" in command
    assert value(command, "--max-lora-rank") == "16"
    assert value(command, "--weight-transfer-config") == '{"backend": "nccl"}'
    assert value(command, "--served-model-name") == "policy"
    assert command[-2:] == ["--seed", "3"]


def test_a_folder_is_named_in_full_and_served_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "final").mkdir()
    monkeypatch.chdir(tmp_path)
    command = server_command(ServerSettings(model="final"), GPU, {})
    assert value(command, "--model") == str(tmp_path / "final")
    assert value(command, "--served-model-name") == "final"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("10.0.0.7", "http://10.0.0.7:8000"),
        ("::1", "http://[::1]:8000"),
    ],
)
def test_where_a_server_is_reached(host: str, url: str) -> None:
    assert ServerSettings(model="m", host=host).url == url
