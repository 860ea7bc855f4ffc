"""Rollouts from a real vLLM server: the engines' contract, weights that are proven, and a death."""

from __future__ import annotations

import copy
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.rollout_contract import CONTRACT, PROMPTS, Subject, contract_model
from tests.serving.conftest import START_S
from tests.unit.tiny_models import tiny_tokenizer
from transformers import PreTrainedModel

from atlas.config.grpo import GRPOConfig
from atlas.config.resolve import resolve
from atlas.data.tasks import mixed_tasks
from atlas.errors import AtlasError
from atlas.policy.served import ServedPolicy
from atlas.policy.servers import open_served_policy
from atlas.policy.weights import checkpoint_tensors
from atlas.rollouts.generator import Sampling
from atlas.run.progress import Silent
from atlas.run.run_dir import RunDir
from atlas.run.stopping import StopRequest
from atlas.serve.control import ControlClient
from atlas.serve.interpreter import Interpreter
from atlas.serve.settings import ServerSettings
from atlas.serve.supervisor import Supervisor
from atlas.training.grpo import train_grpo

SAMPLING = Sampling(max_new_tokens=16, temperature=0.7, top_p=0.95)


@pytest.fixture(scope="module")
def server(
    interpreter: Interpreter, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Supervisor]:
    folder = tmp_path_factory.mktemp("policy")
    contract_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    settings = ServerSettings(model=str(folder), port=0, dtype="float32")
    with Supervisor(settings, interpreter, ready_s=START_S) as supervisor:
        supervisor.wait_until_ready()
        yield supervisor


def served(server: Supervisor, model: PreTrainedModel, **settings: Any) -> ServedPolicy:
    config = GRPOConfig(
        model_name_or_path=server.settings.model,
        student_model="base",
        rollout_engine="vllm",
        vllm_server_url=(server.url,),
        **settings,
    )
    return open_served_policy(
        config, model, tiny_tokenizer(), SAMPLING, log=Path("unused"), say=lambda line: None
    )


@pytest.fixture(scope="module")
def subject(server: Supervisor) -> Iterator[Subject]:
    model = contract_model()
    policy = served(server, model)
    policy.publish(4)
    yield Subject(engine=policy.generator, model=model, version=4)
    policy.close()


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_the_engine_on_a_server(check: Callable[[Subject], None], subject: Subject) -> None:
    check(subject)


def stir(model: PreTrainedModel, size: float, seed: int) -> None:
    """An update of all weights, as large as a large step of training."""
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += size * torch.randn(parameter.shape, generator=chance)


def test_updates_arrive_and_are_attested(server: Supervisor) -> None:
    """Steps of the size that fine-tuning takes are enough to be told apart."""
    model = contract_model()
    policy = served(server, model)
    try:
        for version, size in ((0, 0.0), (1, 0.05), (2, 2e-5)):
            stir(model, size, version)
            figures = policy.publish(version)
            sys.stdout.write(f"\nversion {version}: {dict(figures)}\n")
            assert figures["serving/logprob_difference_max"] <= 1e-4
            groups = policy.generator.generate(PROMPTS, SAMPLING, num_samples=2)
            assert {one.policy_version for group in groups for one in group} == {version}
        assert policy.publish(2) == {}
    finally:
        policy.close()


class Sabotaged:
    """A control client that does something else than it says."""

    def __init__(self, control: ControlClient, update: Callable[..., None]) -> None:
        self._control = control
        self._update = update
        self._claimed: int | None = None

    def update_weights(self, tensors: Any, version: int, *, in_flight: str = "wait") -> None:
        self._update(self._control, dict(tensors), version)
        self._claimed = version

    def version(self) -> int | None:
        return self._claimed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._control, name)


def skipped(control: ControlClient, tensors: dict[str, torch.Tensor], version: int) -> None:
    """The worst kind: everything says that it went well."""


def corrupted(control: ControlClient, tensors: dict[str, torch.Tensor], version: int) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name] = tensors[name].clone()
    tensors[name][0] *= -1
    control.update_weights(tensors.items(), version)


def without_a_reset(control: Any, tensors: dict[str, torch.Tensor], version: int) -> None:
    """A pause resets too, so there is none either; nothing is under way here."""
    control._way.send(control._connection, tensors.items(), version, 60.0)


def of(model: PreTrainedModel) -> Callable[..., None]:
    """Other weights than those that were given."""
    tensors = {name: tensor.clone() for name, tensor in checkpoint_tensors(model)}
    return lambda control, _, version: control.update_weights(tensors.items(), version)


@pytest.mark.parametrize(
    ("sabotage", "message"),
    [
        (skipped, r"exactly as with version 2, the one before.*didn't reach it"),
        ("base", r"when it was started.*base weights"),
        ("old", r"exactly as with version 1, so it serves an old version"),
        (corrupted, r"not those that were sent"),
        (without_a_reset, r"prefix cache.*was not reset by the update to version 3"),
    ],
    ids=["skipped", "base", "old", "corrupted", "cache"],
)
def test_a_sabotaged_update_stops_the_run_and_is_named(
    server: Supervisor, sabotage: Any, message: str
) -> None:
    model = contract_model()
    server.control().update_weights(checkpoint_tensors(contract_model()), 0)
    stir(model, 0.05, 0)
    policy = served(server, model)
    try:
        policy.publish(1)
        old = copy.deepcopy(model)
        stir(model, 0.05, 1)
        policy.publish(2)
        stir(model, 0.05, 2)
        update = {"base": of(contract_model()), "old": of(old)}.get(sabotage, sabotage)
        (one,) = policy.servers
        one.control = Sabotaged(server.control(), update)
        with pytest.raises(AtlasError, match=message):
            policy.publish(3)
        one.control = server.control()
        policy.publish(3)
    finally:
        policy.close()


def test_a_server_of_another_model_is_refused(server: Supervisor) -> None:
    policy = served(server, contract_model(seed=8))
    try:
        (one,) = policy.servers
        one.control = Sabotaged(server.control(), of(contract_model(seed=9)))
        with pytest.raises(AtlasError, match="server of another model"):
            policy.publish(0)
    finally:
        policy.close()


def test_a_closed_control_port_stops_the_run_and_is_named(server: Supervisor) -> None:
    policy = served(server, contract_model())
    try:
        (one,) = policy.servers
        one.control = ControlClient("http://127.0.0.1:9", "token")
        with pytest.raises(AtlasError, match=r"pause: nobody answers at http://127.0.0.1:9"):
            policy.publish(0)
    finally:
        policy.close()


def test_requests_that_are_under_way_go_on_with_the_new_weights(server: Supervisor) -> None:
    """As `async_rollouts` has it; their log-probabilities are those that they were sampled with."""
    model = contract_model()
    policy = served(server, model, async_rollouts=1)
    try:
        policy.publish(0)
        long = Sampling(max_new_tokens=200, temperature=1.0)
        end_free = policy.generator
        end_free._end_ids = ()
        found: list[Any] = []
        prompts = [[5 + i] for i in range(24)]
        sampler = threading.Thread(
            target=lambda: found.extend(end_free.generate(prompts, long, num_samples=4))
        )
        sampler.start()
        time.sleep(0.4)
        stir(model, 0.02, 5)
        policy.publish(1)
        sampler.join(120)
        rows = [one for group in found for one in group]
        assert len(rows) == 96
        assert {one.policy_version for one in rows} <= {0, 1}
    finally:
        policy.close()


def trained(folder: Path, model: str, **settings: Any) -> list[dict[str, Any]]:
    """Rows of the metrics of a short GRPO run whose policy is served."""
    config = GRPOConfig(
        model_name_or_path=model,
        student_model=model,
        output_dir=str(folder),
        learning_rate=1e-3,
        num_generations=4,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=1,
        max_new_tokens=16,
        student_max_new_tokens=8,
        approach_max_new_tokens=4,
        mask_truncated_completions=False,
        length_probe_samples=0,
        rollout_engine="vllm",
        **settings,
    )
    run = RunDir.create(folder / "run", "grpo")
    tasks = mixed_tasks(("chain_sum",), 12, seed=3)
    train_grpo(run, resolve(config), tasks, progress=Silent(), stop=StopRequest())
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    for row in rows:
        found = {name: row[name] for name in row if name.startswith("serving/")}
        sys.stdout.write(f"\nstep {row['step']}: {found}\n")
        assert row["serving/logprob_difference_max"] <= 1e-4
    assert len(rows) == config.max_steps
    assert any("train/loss" in row for row in rows)
    return rows


def check_on_policy(rows: list[dict[str, Any]]) -> None:
    """The server's log-probabilities are the trainer's: every importance ratio is 1."""
    name = "train/importance_ratio_max"
    ratios = [row[name] for row in rows if name in row]
    assert ratios
    assert ratios == pytest.approx([1.0] * len(ratios), abs=1e-3)


@pytest.mark.parametrize("ahead", [0, 1])
def test_grpo_steps_through_the_server(server: Supervisor, tmp_path: Path, ahead: int) -> None:
    rows = trained(
        tmp_path,
        server.settings.model,
        max_steps=4,
        vllm_server_url=(server.url,),
        async_rollouts=ahead,
    )
    assert all(row["serving/policy_age"] <= ahead for row in rows)
    if not ahead:
        check_on_policy(rows)
    assert server.control().version() == 4


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_run_with_an_adapter_serves_it_on_a_server_of_its_own(
    server: Supervisor, tmp_path: Path, ahead: int
) -> None:
    """Only the adapter travels, and the attestation sees every step of it arrive."""
    adapter = {"use_peft": True, "lora_r": 4, "warmup_ratio": 0.0}
    rows = trained(tmp_path, server.settings.model, max_steps=3, async_rollouts=ahead, **adapter)
    assert all(row["serving/policy_age"] <= ahead for row in rows)
    if not ahead:
        check_on_policy(rows)
    assert "atlas-adapter-" not in " ".join(os.listdir("/dev/shm"))
    assert (tmp_path / "run" / "final" / "adapter" / "adapter_config.json").exists()


def test_a_death_in_mid_rollout_costs_no_completion_and_a_second_one_ends_the_run(
    server: Supervisor,
) -> None:
    model = contract_model()
    policy = served(server, model)
    (one,) = policy.servers

    def bring_back(why: str) -> None:
        if not server.process.answers():
            server.restart()

    one.bring_back = bring_back
    try:
        stir(model, 0.05, 7)
        policy.publish(1)
        prompts = [[5 + i, 6] for i in range(40)]
        sampling = Sampling(max_new_tokens=60, temperature=1.0)
        expected = policy.generator.generate(prompts, sampling, num_samples=4, seed=3)

        def kill() -> None:
            os.killpg(server.process.pid, signal.SIGKILL)

        killer = threading.Timer(0.3, kill)
        killer.start()
        groups = policy.generator.generate(prompts, sampling, num_samples=4, seed=3)
        killer.join()
        assert policy.generator.pool.resent > 0
        assert [one[0].prompt_ids for one in groups] == [tuple(prompt) for prompt in prompts]
        assert [len(group) for group in groups] == [4] * 40
        assert {one.policy_version for group in groups for one in group} == {1}
        same = sum(a == b for a, b in zip(groups, expected, strict=True))
        assert same >= 36  # equal seeds, equal weights; a near tie may fall the other way

        killer = threading.Timer(0.3, kill)
        killer.start()
        with pytest.raises(AtlasError, match=r"after it was started again.*its log is"):
            policy.generator.generate(prompts, sampling, num_samples=4, seed=3)
        killer.join()
    finally:
        policy.close()
