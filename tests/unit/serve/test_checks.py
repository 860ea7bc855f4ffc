from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.serve.checks import check, check_length, check_port, longest, model_config
from atlas.serve.interpreter import Interpreter
from atlas.serve.settings import ServerSettings

CPU = Interpreter(python=Path("py"), version="0.32.0", cpu=True)
GPU = Interpreter(python=Path("py"), version="0.32.0", cpu=False)


def model(folder: Path, **config: object) -> str:
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_port_in_use() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(AtlasError, match=f"port {port} .* in use .*--port {port + 1}"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)


def test_an_address_that_isnt_here() -> None:
    with pytest.raises(AtlasError, match=r"no server can listen on 192\.0\.2\.77"):
        check_port("192.0.2.77", free_port())


def test_models_that_arent_there(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="there is no folder checkpoints/sft/final"):
        model_config("checkpoints/sft/final")
    with pytest.raises(AtlasError, match=r"holds no model: there is no config\.json"):
        model_config(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(AtlasError, match=r"config\.json can't be read as JSON"):
        model_config(str(tmp_path))


def test_a_hub_that_isnt_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(AtlasError, match="atlas-tests/no-such-model is neither a folder"):
        model_config("atlas-tests/no-such-model")


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ({"max_position_embeddings": 2048}, 2048),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 512}}, 512),
        (
            {
                "max_position_embeddings": 32768,
                "rope_scaling": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 32768,
                },
            },
            131072,
        ),
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": 8.0,
                    "original_max_position_embeddings": 8192,
                },
            },
            131072,
        ),
        ({}, None),
    ],
)
def test_how_long_a_model_can_be(config: dict, most: int | None) -> None:
    assert longest(config) == most


def test_a_context_longer_than_the_models() -> None:
    config = {"max_position_embeddings": 1024}
    check_length(ServerSettings(model="m", max_model_len=1024), config, {})
    with pytest.raises(AtlasError, match="--max-model-len 2048 is more than the 1024"):
        check_length(ServerSettings(model="m", max_model_len=2048), config, {})
    environ = {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}
    check_length(ServerSettings(model="m", max_model_len=2048), config, environ)


def test_heads_that_vllm_cant_do_on_a_cpu(tmp_path: Path) -> None:
    folder = model(tmp_path, hidden_size=32, num_attention_heads=4)
    settings = ServerSettings(model=folder, port=free_port())
    check(settings, GPU, {})
    with pytest.raises(AtlasError, match="size of its attention heads is 8"):
        check(settings, CPU, {})
    model(tmp_path, hidden_size=64, num_attention_heads=4, head_dim=32)
    check(settings, CPU, {})


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"max_position_embeddings": "many"}, "max_position_embeddings"),
        ({"text_config": 5}, "an object should be"),
        ({"rope_scaling": [1], "hidden_size": 64}, "an object should be"),
        ({"rope_scaling": {"type": "yarn", "factor": "2"}}, "factor"),
        ({"hidden_size": 64, "num_attention_heads": -4}, "num_attention_heads"),
    ],
)
def test_a_value_of_a_models_file_that_is_no_number_is_named(
    tmp_path: Path, config: dict[str, object], named: str
) -> None:
    with pytest.raises(AtlasError, match=rf"config\.json: .*{named}"):
        model_config(model(tmp_path, **config))
