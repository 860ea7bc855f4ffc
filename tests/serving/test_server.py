"""One real vLLM server: updated in place, guarded, fed with adapters, killed and started again.

Its model ties its embeddings, and its prompts are longer than a block of the prefix cache: both
hide a stale model where they aren't looked at. The tests share the server and go on from one
another's weights, each with a version of its own.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.serving.conftest import START_S
from tests.unit.tiny_models import tiny_model, tiny_tokenizer
from transformers import PreTrainedModel

from atlas.cli.serve.serve import curl_lines
from atlas.errors import AtlasError
from atlas.serve.checks import check_port
from atlas.serve.connection import ControlError
from atlas.serve.inside import idle
from atlas.serve.interpreter import Interpreter
from atlas.serve.settings import ServerSettings
from atlas.serve.supervisor import Supervisor
from atlas.serve.transfer.file import write_tensors

TOLERANCE = 1e-4
PROMPT = torch.randint(3, 290, (300,), generator=torch.Generator().manual_seed(1)).tolist()


def model(seed: int) -> PreTrainedModel:
    return tiny_model(
        seed=seed,
        vocab_size=300,
        max_position_embeddings=512,
        hidden_size=64,
        head_dim=32,
        initializer_range=0.1,
    )


@pytest.fixture(scope="module")
def server(interpreter: Interpreter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("teacher")
    model(0).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    settings = ServerSettings(
        model=str(folder), served_name="teacher", port=0, dtype="float32", lora_rank=8
    )
    with Supervisor(settings, interpreter, ready_s=START_S) as supervisor:
        supervisor.wait_until_ready()
        yield supervisor


def ask(server: Supervisor, **fields: Any) -> Any:
    body = {"model": "teacher", "prompt": PROMPT, "max_tokens": 1, "temperature": 0} | fields
    return call(server, "/v1/completions", body)


def call(server: Supervisor, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(server.url + path, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.loads(response.read() or b"null")


def logprobs(server: Supervisor, name: str = "teacher") -> torch.Tensor:
    choice = ask(server, prompt_logprobs=0, model=name)["choices"][0]
    each = zip(choice["prompt_logprobs"][1:], PROMPT[1:], strict=True)
    return torch.tensor([entry[str(token)]["logprob"] for entry, token in each])


def difference(server: Supervisor, trained: torch.nn.Module, name: str = "teacher") -> float:
    """The largest difference of a token's log-probability to a forward pass of transformers."""
    ids = torch.tensor([PROMPT])
    with torch.no_grad():
        logits = trained(ids).logits[0, :-1]
    expected = logits.log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
    return float((logprobs(server, name) - expected).abs().max())


def test_it_serves_its_folder(server: Supervisor) -> None:
    for line in curl_lines(server.settings):
        with urllib.request.urlopen(line.removeprefix("curl "), timeout=60) as response:
            assert response.status == 200
    assert call(server, "/v1/models")["data"][0]["id"] == "teacher"
    assert server.control().version() is None
    assert difference(server, model(0)) < TOLERANCE
    with pytest.raises(AtlasError, match=f"port {server.settings.port} .*in use"):
        check_port(server.settings.host, server.settings.port)


@pytest.mark.parametrize(
    "path",
    ["/pause", "/collective_rpc", "/update_weights", "/v1/load_lora_adapter", "/server_info"],
)
def test_control_is_closed_without_the_token(server: Supervisor, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        call(server, path, {"method": "atlas_state"})
    assert caught.value.code == 403
    assert ask(server)["choices"]


def test_the_token_is_on_no_command_line_and_in_no_log(server: Supervisor) -> None:
    command = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
    assert b"atlas.serve.inside.vllm_process" in command
    assert server.process.token.encode() not in command
    assert server.process.token not in server.process.log.read_text(errors="replace")


def test_the_processes_that_exchange_messages_sleep_while_they_wait(server: Supervisor) -> None:
    log = server.process.log.read_text(errors="replace")
    patched = [line for line in log.splitlines() if idle.PATCHED in line]
    assert [sum(name in line for line in patched) for name in ("EngineCore", "Worker")] == [1, 1]


def test_an_update_in_place_is_exact_and_leaves_nothing_of_the_old(server: Supervisor) -> None:
    control = server.control()
    cached = [ask(server)["usage"]["prompt_tokens_details"]["cached_tokens"] or 0 for _ in range(2)]
    assert cached[1] >= 128
    control.update_weights(model(1).state_dict().items(), 1)
    assert not ask(server)["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert control.version() == 1
    new, old = difference(server, model(1)), difference(server, model(0))
    # make serving shows it with ARGS=-rP.
    sys.stdout.write(f"after the update: {new:.1e} to the new weights, {old:.1e} to the old\n")
    assert new < TOLERANCE
    assert old > 0.1


def test_weights_of_another_model_are_refused_whole(server: Supervisor) -> None:
    control = server.control()
    control.update_weights(model(1).state_dict().items(), 2)
    fewer = list(model(3).state_dict().items())[1:]
    with pytest.raises(ControlError, match=r"weights of another model: model\.embed_tokens"):
        control.update_weights(fewer, 3)
    assert control.version() == 2
    assert difference(server, model(1)) < TOLERANCE


def test_a_corrupted_tensor_is_refused(server: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_bit_off(file: BinaryIO, tensors: Any, served: torch.dtype) -> Any:
        entries = write_tensors(file, tensors, served)
        file.seek(5000)
        file.write(b"\x7f")
        return entries

    control = server.control()
    control.update_weights(model(1).state_dict().items(), 4)
    monkeypatch.setattr("atlas.serve.transfer.file.write_tensors", one_bit_off)
    with pytest.raises(ControlError, match=r"transfer of weights: .*changed on their way"):
        control.update_weights(model(3).state_dict().items(), 5)
    assert control.version() == 4
    assert difference(server, model(1)) < TOLERANCE


def test_an_adapter_takes_the_place_of_the_one_before(server: Supervisor, tmp_path: Path) -> None:
    control = server.control()
    control.update_weights(model(0).state_dict().items(), 6)
    for version in (7, 8):
        config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        torch.manual_seed(version)
        adapted = get_peft_model(model(0), config).eval()
        adapted.save_pretrained(tmp_path / str(version))
        control.load_adapter(tmp_path / str(version), version)
        assert control.version() == version
        assert difference(server, adapted, "policy") < TOLERANCE
        assert difference(server, model(0)) < TOLERANCE
        assert difference(server, model(0), "policy") > 0.01


def test_a_killed_server_comes_back_and_takes_the_weights_again(server: Supervisor) -> None:
    control = server.control()
    control.update_weights(model(1).state_dict().items(), 9)
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process._process.wait(60)
    server.wait_until_ready()
    assert control.version() is None
    assert difference(server, model(0)) < TOLERANCE
    control.update_weights(model(1).state_dict().items(), 9)
    assert control.version() == 9
    assert difference(server, model(1)) < TOLERANCE
