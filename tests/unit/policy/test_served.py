"""Publishing weights and proving them, against a server in this process that really has weights.

The server is a copy of the model with a cache that says what it was asked before; a real vLLM
server goes through the same in ``tests/serving``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import torch
from tests.unit.tiny_models import tiny_model, tiny_tokenizer
from transformers import PreTrainedModel

from atlas.errors import AtlasError
from atlas.policy.attestation import Attestation, tolerance_for
from atlas.policy.served import PolicyServer, ServedPolicy
from atlas.policy.witnesses import make_witnesses, trainer_scores
from atlas.rollouts.generator import Sampling
from atlas.rollouts.vllm.engine import VLLMGenerator
from atlas.rollouts.vllm.pool import ServerPool
from atlas.rollouts.vllm.server import RequestLost, ServerFacts, VLLMServer
from atlas.rollouts.vllm.wire import GENERATE_DIALECT, Sampled, SampleRequest
from atlas.serve.connection import ServerUnreachable

SAMPLING = Sampling(max_new_tokens=4, temperature=0.5, top_p=0.9)
F32 = tolerance_for(torch.float32)


@dataclass
class Server:
    """Client and control endpoints of one server."""

    model: PreTrainedModel
    url: str = "http://server:8000"
    timeout_s: float = 1.0
    recorded: int | None = None
    reported_at: float | None = None
    """Temperature of the reported log-probabilities; None: the one that was asked for."""
    alive: bool = True
    resets: bool = True
    cache: set[tuple[int, ...]] = field(default_factory=set)
    sent: list[int] = field(default_factory=list)

    # What a client is asked.
    @property
    def facts(self) -> ServerFacts:
        return ServerFacts(
            url=self.url, model="policy", window=64, version="0.32.0", dialect=GENERATE_DIALECT
        )

    async def scores(self, texts: Sequence[tuple[int, ...]]) -> list[float]:
        self._check()
        return trainer_scores(
            self.model, [text[:1] for text in texts], [text[1:] for text in texts]
        ).tolist()

    async def cached_tokens(self, text: tuple[int, ...]) -> int:
        self._check()
        known = text in self.cache
        self.cache.add(text)
        return 16 if known else 0

    async def complete(self, ask: SampleRequest) -> list[Sampled]:
        self._check()
        ids = (7, 8)
        temperature = self.reported_at or ask.sampling.temperature
        logprobs = trainer_scores(self.model, [ask.prompt], [ids], temperature=temperature)
        one = Sampled(
            token_ids=ids,
            logprobs=tuple(logprobs.tolist()),
            finish_reason="length",
            versions=(str(self.recorded),),
        )
        return [one] * ask.num_samples

    async def close(self) -> None:
        """Nothing is open."""

    def _check(self) -> None:
        if not self.alive:
            raise RequestLost("the connection failed")

    # What its control endpoints are asked.
    def update_weights(self, tensors: Iterable[Any], version: int, *, in_flight: str) -> None:
        if not self.alive:
            raise ServerUnreachable("pause: nobody answers", phase="pause")
        self.model.load_state_dict(dict(tensors), strict=False)
        self.recorded = version
        self.sent.append(version)
        if self.resets:
            self.cache.clear()

    def version(self) -> int | None:
        return self.recorded

    def resume(self) -> None:
        """It isn't paused."""


@contextmanager
def policy_on(server: Server, model: PreTrainedModel) -> Iterator[ServedPolicy]:
    pool = ServerPool([cast(VLLMServer, server)], max_retries=1)

    def bring_back(why: str) -> None:
        if not server.alive:
            raise AtlasError(f"gone for good ({why})")

    policy = ServedPolicy(
        model=model,
        generator=VLLMGenerator(pool, tiny_tokenizer(), policy_version=0),
        servers=[
            PolicyServer(
                client=cast(VLLMServer, server),
                control=cast(Any, server),
                bring_back=bring_back,
                attestation=Attestation(url=server.url, tolerance=F32),
            )
        ],
        witnesses=make_witnesses(40, 64, frozenset({1})),
        sampling=SAMPLING,
        tolerance=F32,
    )
    try:
        policy.open()
        yield policy
    finally:
        policy.close()


def stir(model: PreTrainedModel, seed: int, size: float = 0.02) -> None:
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += size * torch.randn(parameter.shape, generator=chance)


def test_each_version_is_sent_once_and_attested() -> None:
    model, server = tiny_model(seed=1), Server(tiny_model(seed=1))
    with policy_on(server, model) as policy:
        for version in (0, 1, 2):
            figures = policy.publish(version)
            assert figures["serving/logprob_difference_max"] <= F32.max
            assert policy.publish(version) == {}
            stir(model, version)
        assert server.sent == [0, 1, 2]
        assert policy.generator.policy_version == 2


def test_tied_weights_are_sent_once_under_the_name_of_the_embedding() -> None:
    model = tiny_model(seed=1)
    names: list[str] = []

    class Listening(Server):
        def update_weights(self, tensors: Iterable[Any], version: int, *, in_flight: str) -> None:
            given = list(tensors)
            names.extend(name for name, _ in given)
            super().update_weights(given, version, in_flight=in_flight)

    with policy_on(Listening(tiny_model(seed=1)), model) as policy:
        policy.publish(0)
    assert "model.embed_tokens.weight" in names
    assert "lm_head.weight" not in names
    assert len(names) == len(set(names)) == len(list(model.parameters()))


class Skipping(Server):
    def update_weights(self, tensors: Iterable[Any], version: int, *, in_flight: str) -> None:
        """It claims to have them."""
        self.recorded = version
        self.cache.clear()


class Refusing(Skipping):
    def version(self) -> int | None:
        return None


class Corrupting(Server):
    def update_weights(self, tensors: Iterable[Any], version: int, *, in_flight: str) -> None:
        given = dict(tensors)
        name = "model.layers.1.mlp.down_proj.weight"
        given[name] = -given[name]
        super().update_weights(given.items(), version, in_flight=in_flight)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Skipping, "the one before, so the update didn't reach it"),
        (Refusing, "serves version None after the update to version 2: .* skipped"),
        (Corrupting, "not those that were sent"),
    ],
)
def test_an_update_that_goes_wrong_stops_the_run(kind: type[Server], message: str) -> None:
    model, server = tiny_model(seed=1), Server(tiny_model(seed=1))
    with policy_on(server, model) as policy:
        policy.publish(0)
        stir(model, 1)
        policy.publish(1)
        stir(model, 2)
        server.__class__ = kind
        with pytest.raises(AtlasError, match=message):
            policy.publish(2)
        assert policy.generator.policy_version == 1


def test_a_cache_that_wasnt_reset_stops_the_run() -> None:
    model, server = tiny_model(seed=1), Server(tiny_model(seed=1))
    with policy_on(server, model) as policy:
        policy.publish(0)
        server.resets = False
        stir(model, 1)
        with pytest.raises(AtlasError, match=r"prefix cache.*not reset.*version 1: 16 tokens"):
            policy.publish(1)


def test_logprobs_at_another_temperature_stop_the_run() -> None:
    model, server = tiny_model(seed=1), Server(tiny_model(seed=1), reported_at=1.0)
    with (
        policy_on(server, model) as policy,
        pytest.raises(AtlasError, match=r"softmax\(logits / temperature\)"),
    ):
        policy.publish(0)


def test_a_control_port_that_is_closed_stops_the_run_with_its_phase() -> None:
    model = tiny_model(seed=1)

    class Closed(Server):
        def update_weights(self, tensors: Iterable[Any], version: int, *, in_flight: str) -> None:
            raise ServerUnreachable("pause: nobody answers at http://server:8000", phase="pause")

    with (
        policy_on(Closed(tiny_model(seed=1)), model) as policy,
        pytest.raises(AtlasError, match="pause: nobody answers"),
    ):
        policy.publish(0)


def test_a_server_that_restarted_gets_the_current_weights_before_it_is_asked_again() -> None:
    model, server = tiny_model(seed=1), Server(tiny_model(seed=1))
    folder = copy.deepcopy(server.model)
    with policy_on(server, model) as policy:
        stir(model, 5)
        policy.publish(3)
        server.model, server.recorded = folder, None  # as a fresh start has it
        server.cache.clear()
        ((one,),) = policy.generator.generate([[5, 6]], SAMPLING)
        assert one.policy_version == 3
        assert server.sent == [3, 3]
        assert policy.generator.pool.resent == 1


def test_a_server_that_is_gone_ends_the_run_with_the_reason() -> None:
    model, server = tiny_model(seed=1), Server(tiny_model(seed=1))
    with policy_on(server, model) as policy:
        policy.publish(0)
        server.alive = False
        with pytest.raises(AtlasError, match=r"gone for good \(the connection failed\)"):
            policy.generator.generate([[5, 6]], SAMPLING)
        with pytest.raises(AtlasError, match="gone for good"):
            policy.publish(1)


def test_weights_are_not_read_while_they_change() -> None:
    """A server that dies during an update of the model is given the weights after it."""
    model, server = tiny_model(seed=1), Server(tiny_model(seed=1))
    with policy_on(server, model) as policy:
        policy.publish(0)
        with policy.training():
            taken = policy._weights.acquire(blocking=False)  # the same thread may
            assert taken
            policy._weights.release()
            found: list[bool] = []

            async def elsewhere() -> None:
                found.append(policy._weights.acquire(blocking=False))

            policy.generator.pool.run(elsewhere())
            assert found == [False]
