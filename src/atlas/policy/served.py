"""The policy on vLLM servers: new weights after every step, and proof that they are what is served.

::

    publish(v)   pause ─ transfer ─ reset of the cache ─ record v ─ resume       (ControlClient)
                 ─ version asked ─ witnesses scored on both sides ─ cache found empty ─ attested
    revive       a server that was lost is brought back, given the current weights, attested

Every phase has a deadline and says its name where it fails. No completion is taken from a server
whose weights weren't attested, as each says which version sampled it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atlas.errors import OutageError
from atlas.parallel.distributed import ALONE, Ranks
from atlas.policy.attestation import (
    Agreement,
    Attestation,
    Reading,
    Tolerance,
    check_sampled,
)
from atlas.policy.weights import WeightControl, send_weights
from atlas.policy.witnesses import CONTINUED, Witnesses, trainer_scores
from atlas.rollouts.generator import Sampling
from atlas.rollouts.vllm.engine import VLLMGenerator
from atlas.rollouts.vllm.server import RequestLost, VLLMServer
from atlas.rollouts.vllm.wire import SampleRequest, UnusableAnswer
from atlas.serve.connection import DeadlinePassed, ServerUnreachable
from atlas.serve.control import InFlight

_GONE = (RequestLost, UnusableAnswer, ServerUnreachable, DeadlinePassed)


@dataclass(kw_only=True, slots=True)
class PolicyServer:
    """One server of the policy, with what is known about it."""

    client: VLLMServer
    control: WeightControl
    bring_back: Callable[[str], None]
    """Returns when the server answers again, told why it is asked; raises where there is no hope.
    It has then lost the weights that it was given, or not: `ServedPolicy` looks."""
    attestation: Attestation


@dataclass(kw_only=True, slots=True)
class ServedPolicy:
    """A policy engine (engine.py) on servers.

    ``publish`` and ``revive`` may be called in different threads; ``training`` keeps both from
    reading weights while they change.
    """

    model: PreTrainedModel
    generator: VLLMGenerator
    servers: Sequence[PolicyServer]
    witnesses: Witnesses
    sampling: Sampling
    """As teachings are drawn: so the long witnesses are continued."""
    tolerance: Tolerance
    in_flight: InFlight = "wait"
    ranks: Ranks = ALONE
    """Rank 0 alone gives servers their weights; all sample on them."""
    version: int | None = None
    """Of the weights that every server has; None before the first `publish`."""
    _weights: threading.RLock = field(default_factory=threading.RLock)

    def open(self) -> None:
        """Look at the servers as they are before they get any weights.

        Raises:
            AtlasError: One can't be reached.
        """
        self.generator.pool.revive = self.revive
        for server in self.servers if self.ranks.is_main else ():
            with _phase(server, "first look at the server"):
                server.control.resume()
                server.attestation.started_N = self._scores(server)
                self._cached(server)  # puts the long witnesses there, to be forgotten

    @contextlib.contextmanager
    def training(self):
        """Return a context in which the weights may change."""
        with self._weights:
            yield

    def publish(self, version: int) -> Mapping[str, float]:
        """Have every server serve the policy as it is now, under this version.

        Args:
            version: Optimiser steps that the weights have seen. Nothing is done where it is served
                already.

        Returns:
            ``serving/update_seconds``, ``serving/logprob_difference_max`` and ``…_mean``; empty
            where nothing was done.

        Raises:
            AtlasError: A server can't be given the weights, or serves others afterwards; says what.
        """
        with self._weights:
            if version == self.version:
                return {}
            self.generator.newest_version = version
            figures = self.ranks.on_main(
                lambda: self._all_updated(version), f"update of the servers to version {version}"
            )
            self.version = self.generator.policy_version = version
            return figures

    def revive(self, client: VLLMServer, why: str) -> None:
        """Bring a server back with the current weights.

        Raises:
            AtlasError: There is no hope.
        """
        (server,) = [server for server in self.servers if server.client is client]
        server.bring_back(why)
        with self._weights:
            if self.version is None:
                return
            with _phase(server, f"look at the server after it was lost ({why})"):
                served = server.control.version()
            if served == self.version:
                return
            if not self.ranks.is_main:
                raise OutageError(
                    f"the server at {client.url} lost its weights ({why}), and only the first of "
                    f"{self.ranks.size} processes can give them again; resume the run"
                )
            self._update(server, self.version)

    def close(self) -> None:
        """Close the connections; the servers go on."""
        self.generator.pool.close()

    def _all_updated(self, version: int) -> Mapping[str, float]:
        started = time.monotonic()
        found = [self._updated(server, version) for server in self.servers]
        return {
            "serving/update_seconds": time.monotonic() - started,
            "serving/logprob_difference_max": max(one.max for one in found),
            "serving/logprob_difference_mean": max(one.mean for one in found),
            "serving/requests_sent_again": self.generator.pool.resent,
        }

    def _updated(self, server: PolicyServer, version: int) -> Agreement:
        """Update a server; once more after it was brought back, where it was lost meanwhile."""
        try:
            return self._update(server, version)
        except _GONE as error:
            server.bring_back(str(error))
        try:
            return self._update(server, version)
        except (RequestLost, UnusableAnswer) as error:
            raise OutageError(
                f"the update of the weights failed twice: the server at {server.client.url} was "
                f"lost ({error})"
            ) from None

    def _update(self, server: PolicyServer, version: int) -> Agreement:
        name = send_weights(server.control, self.model, version, self.in_flight)
        if name is not None:
            server.client.use_model(name)
        served = server.control.version()
        if served != version:
            raise OutageError(
                f"the server at {server.client.url} says that it serves version {served} after the "
                f"update to version {version}: the update was skipped or failed half-way; restart "
                "the server, and resume the run"
            )
        texts = self.witnesses.short
        reading = Reading(
            version=version,
            trainer_N=trainer_scores(
                self.model, [text[:1] for text in texts], [text[1:] for text in texts]
            ),
            server_N=self._scores(server),
        )
        found = server.attestation.judge(reading)
        # Only now: a server without the new weights is the worse news, and may have both.
        self._check_cache(server, version)
        self._check_sampled(server)
        return found

    def _scores(self, server: PolicyServer) -> Tensor:
        return torch.tensor(self.generator.pool.run(server.client.scores(self.witnesses.short)))

    def _cached(self, server: PolicyServer) -> int:
        counts = [
            self.generator.pool.run(server.client.cached_tokens(text))
            for text in self.witnesses.long
        ]
        return sum(count or 0 for count in counts)

    def _check_cache(self, server: PolicyServer, version: int) -> None:
        cached = self._cached(server)
        if cached:
            raise OutageError(
                f"the prefix cache of the server at {server.client.url} was not reset by the "
                f"update to version {version}: {cached} tokens of the witnesses came from it, "
                "computed with earlier weights; restart the server, and resume the run"
            )

    def _check_sampled(self, server: PolicyServer) -> None:
        """Continue the long witnesses as teachings are drawn, and compare the log-probabilities."""
        texts = self.witnesses.long
        sampled = [
            self.generator.pool.run(
                server.client.complete(
                    SampleRequest(
                        prompt=text, sampling=self.sampling, limit=CONTINUED, num_samples=1
                    )
                )
            )[0]
            for text in texts
        ]
        expected_N = trainer_scores(
            self.model,
            texts,
            [one.token_ids for one in sampled],
            temperature=self.sampling.temperature or 1.0,
        )
        reported = [value for one in sampled for value in one.logprobs]
        check_sampled(server.client.url, reported, expected_N.tolist(), self.tolerance)


@contextlib.contextmanager
def _phase(server: PolicyServer, name: str):
    """Say what was being done where a server is lost."""
    try:
        yield
    except (RequestLost, UnusableAnswer) as error:
        raise OutageError(f"{name}: the server at {server.client.url} was lost ({error})") from None
