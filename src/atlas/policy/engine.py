"""What the policy samples on, and how it learns of new weights: one entry a value of a key.

A new engine is a function that returns a `PolicyEngine`, and its entry in `POLICY_ENGINES`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atlas.config.grpo import GRPOConfig
from atlas.config.parts.rollout_servers import RolloutConfig
from atlas.machine.precision import trains_in_bf16
from atlas.parallel.distributed import ALONE, Ranks
from atlas.rollouts.generator import Generator, Sampling
from atlas.rollouts.local.engine import LocalGenerator

if TYPE_CHECKING:
    from atlas.policy.served import ServedPolicy


class PolicyEngine(Protocol):
    """Samples from the policy that is being trained."""

    @property
    def generator(self) -> Generator:
        """What samples."""
        ...

    def publish(self, version: int) -> Mapping[str, float]:
        """Sample from the weights as they are now; completions are stamped with ``version``."""
        ...

    def training(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which the weights change."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalPolicy:
    """The model in this process, whose weights are new at once."""

    generator: LocalGenerator

    def publish(self, version: int) -> Mapping[str, float]:
        """Stamp completions with the version."""
        self.generator.policy_version = version
        return {}

    def training(self) -> contextlib.AbstractContextManager[None]:
        """Nobody else reads the weights."""
        return contextlib.nullcontext()

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyParts:
    """The policy as an engine is made from it."""

    config: GRPOConfig
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    sampling: Sampling
    log: Path
    """Of a server that is started here."""
    say: Callable[[str], None]
    ranks: Ranks = ALONE


def _local(policy: PolicyParts) -> PolicyEngine:
    dtype = torch.bfloat16 if trains_in_bf16(policy.config) else None
    return LocalPolicy(generator=LocalGenerator(policy.model, policy.tokenizer, dtype=dtype))


def _vllm(policy: PolicyParts) -> ServedPolicy:
    from atlas.policy.servers import open_served_policy  # noqa: PLC0415 - slow to import

    return open_served_policy(
        policy.config,
        policy.model,
        policy.tokenizer,
        policy.sampling,
        log=policy.log,
        say=policy.say,
        ranks=policy.ranks,
    )


POLICY_ENGINES: Mapping[str, Callable[[PolicyParts], PolicyEngine]] = {
    "local": _local,
    "vllm": _vllm,
}
"""By the value of ``rollout_engine``."""


def policy_engine(policy: PolicyParts) -> PolicyEngine:
    """Return the engine that the configuration names.

    Raises:
        AtlasError: A server can't be started or reached, or isn't one of this policy.
    """
    return POLICY_ENGINES[policy.config.rollout_engine](policy)


def student_generator(
    config: RolloutConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Generator:
    """Return what the frozen student runs on.

    Raises:
        AtlasError: Its server can't be reached, or serves another model.
    """
    if config.student_server_url is None:
        return LocalGenerator(model, tokenizer)
    from atlas.policy.servers import open_student_pool  # noqa: PLC0415 - slow to import

    return open_student_pool(config, model, tokenizer)
