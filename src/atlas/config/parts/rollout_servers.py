"""Configuration of the rollout engines: in this process, or on vLLM servers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Self

from atlas.config.address import parse_address
from atlas.config.grammar.schema import Part, key
from atlas.errors import AtlasError

RolloutEngine = Literal["local", "vllm"]


@dataclass(frozen=True, kw_only=True)
class RolloutConfig(Part):
    """What the policy and the student are sampled on."""

    rollout_engine: RolloutEngine = key(
        "local",
        "What the policy samples on. local: this process. vllm: servers, which get the new weights "
        "after every step; without vllm_server_url one is started and stopped with the run.",
    )
    vllm_server_url: tuple[str, ...] | None = key(
        None,
        "Addresses of the policy's servers, started by atlas serve; several share the work. Their "
        "key for generation, if they have one, is read from VLLM_API_KEY.",
    )
    student_server_url: tuple[str, ...] | None = key(
        None, "Addresses of vLLM servers of the student; null: it runs in this process."
    )
    async_rollouts: int = key(
        0,
        "Steps that the servers may sample ahead while the trainer works: weights are up to so "
        "many versions old, and the importance weights of the loss see to it. 0: on policy.",
        ge=0,
    )
    request_timeout: float = key(
        600.0, "Seconds that a server has for one group, from sending to the last token.", gt=0
    )
    server_timeout: float = key(
        600.0,
        "Seconds that each phase of an update of a server's weights may take, and that a lost "
        "server has to come back.",
        gt=0,
    )
    max_requests_in_flight: int = key(
        256, "Requests that are under way at one server at a time; others wait here.", ge=1
    )
    server_logprob_tolerance: float = key(
        0.0,
        "Largest mean difference, in nats, between the log-probabilities of server and trainer for "
        "the same weights. 0: what the precision gives (float32: 2e-5, bfloat16: 0.03).",
        ge=0,
    )

    def __post_init__(self) -> None:
        """Refuse what is no address, besides values that are wrong by themselves."""
        super().__post_init__()
        for name in ("vllm_server_url", "student_server_url"):
            for url in getattr(self, name) or ():
                parse_address(url, name)

    def resolved(self, given: Collection[str], world_size: int) -> Self:
        """Refuse keys of servers where there are none."""
        del given, world_size
        for name in ("vllm_server_url", "async_rollouts"):
            if self.rollout_engine != "vllm" and getattr(self, name):
                raise AtlasError(
                    f"{name} and rollout_engine={self.rollout_engine} contradict each other; set "
                    f"rollout_engine=vllm, or leave {name} out"
                )
        return self
