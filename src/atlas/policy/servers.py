"""From configuration to opened servers: reached at their addresses, or started here.

Input: a configuration, and the model. Output: a `ServedPolicy`, or the student's generator, whose
servers have answered, were recognised, and are looked after from then on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atlas.config.grpo import GRPOConfig
from atlas.config.parts.rollout_servers import RolloutConfig
from atlas.errors import AtlasError, OutageError
from atlas.machine.precision import trains_in_bf16
from atlas.machine.shipped import model_path
from atlas.models.passes.reference import Adapted
from atlas.parallel.distributed import ALONE, Ranks
from atlas.policy.attestation import Attestation, Reading, tolerance_for
from atlas.policy.served import PolicyServer, ServedPolicy
from atlas.policy.witnesses import make_witnesses, trainer_scores
from atlas.rollouts.end_tokens import end_ids
from atlas.rollouts.generator import Sampling
from atlas.rollouts.vllm.engine import VLLMGenerator, require_versions
from atlas.rollouts.vllm.pool import ServerPool
from atlas.rollouts.vllm.server import ServerFacts, VLLMServer
from atlas.serve.adapters import room_for_adapters
from atlas.serve.control import ControlClient, Deadlines
from atlas.serve.interpreter import TESTED, find_interpreter
from atlas.serve.settings import ServerSettings
from atlas.serve.supervisor import RestartPolicy, Supervisor

API_KEY_VARIABLE = "VLLM_API_KEY"
"""Where vLLM itself reads the key for generation."""
_LOOK_EVERY_S = 0.5


def open_served_policy(
    config: GRPOConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sampling: Sampling,
    *,
    log: Path,
    say: Callable[[str], None],
    ranks: Ranks = ALONE,
    environ: Mapping[str, str] = os.environ,
) -> ServedPolicy:
    """Return the policy on its servers; one is started where the configuration names none.

    Args:
        sampling: As teachings are drawn.
        log: Output of a server that is started here.
        ranks: Who trains together; the first starts and updates servers, all sample on them.

    Raises:
        AtlasError: A server can't be started or reached, or can't serve a policy.
    """
    keepers = _keepers(config, model, log=log, say=say, ranks=ranks, environ=environ)
    try:
        pool = _pool(config, [keeper.client for keeper in keepers])
        for facts in pool.open():
            say(_line(facts))
        require_versions(pool)
        precisions = [_served_precision(keeper.control) for keeper in keepers]
        tolerance = tolerance_for(
            _less_precise([_precision(model), *precisions]), config.server_logprob_tolerance
        )
        ends = end_ids(tokenizer, model.config, model.generation_config)
        served = _KeptPolicy(
            model=model,
            generator=VLLMGenerator(pool, tokenizer, end_ids=ends, seeded=True, policy_version=0),
            servers=[
                PolicyServer(
                    client=keeper.client,
                    control=keeper.control,
                    bring_back=keeper.bring_back,
                    attestation=Attestation(url=keeper.client.url, tolerance=tolerance),
                )
                for keeper in keepers
            ],
            witnesses=make_witnesses(_vocab_size(model), pool.window, ends),
            sampling=sampling,
            tolerance=tolerance,
            in_flight="keep" if config.async_rollouts else "wait",
            ranks=ranks,
            keepers=keepers,
        )
        served.open()
    except BaseException:
        for keeper in keepers:
            keeper.close()
        raise
    return served


def open_student_pool(
    config: RolloutConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
) -> VLLMGenerator:
    """Return the frozen student on the servers that the configuration names.

    Raises:
        AtlasError: One can't be reached, or serves another model than ``model``.
    """
    assert config.student_server_url
    clients = [_client(url, config) for url in config.student_server_url]
    pool = _pool(config, clients)
    facts = pool.open()
    ends = end_ids(tokenizer, model.config, model.generation_config)
    tolerance = tolerance_for(_precision(model), config.server_logprob_tolerance)
    texts = make_witnesses(_vocab_size(model), pool.window, ends).short
    expected_N = trainer_scores(model, [t[:1] for t in texts], [t[1:] for t in texts])
    for client, found in zip(clients, facts, strict=True):
        if found.tells_versions:  # any other server can't be asked for the scores of token ids
            server_N = torch.tensor(pool.run(client.scores(texts)))
            reading = Reading(version=0, trainer_N=expected_N, server_N=server_N)
            Attestation(url=client.url, tolerance=tolerance).judge(reading)
    return VLLMGenerator(pool, tokenizer, end_ids=ends)


class _Found:
    """A server that somebody else started, and starts again."""

    def __init__(self, url: str, config: RolloutConfig, environ: Mapping[str, str]) -> None:
        self.client = _client(url, config)
        self.control = ControlClient(
            self.client.url,
            api_key=environ.get(API_KEY_VARIABLE),
            deadlines=_deadlines(config),
        )
        self._config = config
        self._policy = RestartPolicy()
        self._lost_s: float | None = None

    def bring_back(self, why: str) -> None:
        """Wait until it answers."""
        end = time.monotonic() + self._config.server_timeout
        while not _answers(self.control):
            if time.monotonic() > end:
                raise OutageError(
                    f"the server at {self.client.url} was lost ({why}) and didn't come back within "
                    f"{self._config.server_timeout:g} s (server_timeout); start it again with "
                    "atlas serve, and resume the run"
                )
            time.sleep(_LOOK_EVERY_S)
        if self.control.version() is not None:
            return  # it lives, and has its weights
        now = time.monotonic()
        if not self._policy.allows(now, self._lost_s):
            raise OutageError(
                f"the server at {self.client.url} died twice within "
                f"{self._policy.cooldown_s:g} s; its log says why"
            )
        self._lost_s = now

    def close(self) -> None:
        """It isn't ours to stop."""
        self.control.close()


class _Started:
    """A server that is started and stopped with the run."""

    def __init__(
        self, config: GRPOConfig, model: PreTrainedModel, log: Path, say: Callable[[str], None]
    ) -> None:
        # vLLM's own choice would be half precision, whatever the folder's and the trainer's is.
        dtype = torch.bfloat16 if trains_in_bf16(config) else _precision(model)
        settings = ServerSettings(
            model=str(model_path(config.model_name_or_path)),
            port=0,
            dtype=str(dtype).removeprefix("torch."),
            lora_rank=_lora_rank(model),
        )
        say(f"starting a vLLM server of {settings.model}; its log is {log}")
        self._supervisor = Supervisor(room_for_adapters(settings), find_interpreter(), log=log)
        self._supervisor.start()
        try:
            self._supervisor.wait_until_ready()
        except BaseException:
            self._supervisor.stop()
            raise
        self.client = _client(self._supervisor.url, config)
        self.control = self._supervisor.control()

    def bring_back(self, why: str) -> None:
        """Start it again where it is dead or hangs; a second death in the cool-down raises."""
        process = self._supervisor.process
        if process.returncode is None and process.answers() and _answers(self.control):
            return
        self._supervisor.restart()

    def close(self) -> None:
        """Stop it."""
        self.control.close()
        self._supervisor.stop()


_Keeper = _Found | _Started


@dataclass(kw_only=True, slots=True)
class _KeptPolicy(ServedPolicy):
    """A served policy that gives its servers back in the end."""

    keepers: Sequence[_Keeper] = ()

    def close(self) -> None:
        """Close the connections, and stop what was started here."""
        self.generator.pool.close()
        for keeper in self.keepers:
            keeper.close()


def _keepers(
    config: GRPOConfig,
    model: PreTrainedModel,
    *,
    log: Path,
    say: Callable[[str], None],
    ranks: Ranks,
    environ: Mapping[str, str],
) -> Sequence[_Keeper]:
    if config.vllm_server_url:
        return [_Found(url, config, environ) for url in config.vllm_server_url]
    started: list[_Started] = []

    def start() -> str:
        started.append(_Started(config, model, log, say))
        return started[0].client.url

    url = ranks.on_main(start, "start of the policy's server")
    return started or [_Found(url, config, environ)]


def _client(url: str, config: RolloutConfig) -> VLLMServer:
    return VLLMServer(
        url, api_key=os.environ.get(API_KEY_VARIABLE), timeout_s=config.request_timeout
    )


def _pool(config: RolloutConfig, clients: Sequence[VLLMServer]) -> ServerPool:
    return ServerPool(
        clients, max_in_flight=config.max_requests_in_flight, revive_s=config.server_timeout
    )


def _deadlines(config: RolloutConfig) -> Deadlines:
    return Deadlines(pause=config.request_timeout, transfer=config.server_timeout)


def _answers(control: ControlClient) -> bool:
    """Return whether engine and workers answer, not the HTTP server alone."""
    try:
        control.state()
    except AtlasError:
        return False
    return True


def _line(facts: ServerFacts) -> str:
    tested = ", ".join(f"{version}.x" for version in TESTED)
    known = facts.version.rpartition(".")[0] in TESTED
    warning = "" if known else "; this version is not among them"
    return (
        f"vLLM {facts.version or '(version not told)'} at {facts.url} serves {facts.model}, "
        f"{facts.window:,} tokens; tested versions: {tested}{warning}"
    )


def _precision(model: PreTrainedModel) -> torch.dtype:
    return next(p.dtype for p in model.parameters() if p.is_floating_point())


def _served_precision(control: ControlClient) -> torch.dtype:
    said = str(control.state()[0].get("dtype"))
    found = getattr(torch, said, None)
    if not isinstance(found, torch.dtype):
        raise AtlasError(
            f"the server at {control.url} computes in '{said}', which isn't known here"
        )
    return found


def _less_precise(dtypes: Sequence[torch.dtype]) -> torch.dtype:
    return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)


def _vocab_size(model: PreTrainedModel) -> int:
    return int(model.config.get_text_config().vocab_size)


def _lora_rank(model: PreTrainedModel) -> int | None:
    if not isinstance(model, Adapted):
        return None
    adapters = getattr(model, "peft_config", {})
    return max((int(one.r) for one in adapters.values()), default=None)
