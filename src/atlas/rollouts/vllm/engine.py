"""The rollout engine on vLLM servers: prompts of token ids over HTTP, the same `Completion`s back.

Every group is one request, so that its prompt is computed once (in whole blocks of the server's
prefix cache; what doesn't fill a block is computed for each sample). Texts are decoded here, by the
trainer's tokenizer, as those of `LocalGenerator`.

``rollout_logprobs`` mean what they mean there, of softmax(logits / temperature) before anything is
cut: a server that ``atlas serve`` started reports them so. Any other vLLM server reports them at
temperature 1, which is the same for a greedy student.

With seeds, a completion depends on its seed and its own place (prompt, sample), up to rounding: a
token whose odds are equal to the last digit may fall the other way in another batch. Without seeds
two runs differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from transformers import PreTrainedTokenizerBase

from atlas.errors import AtlasError
from atlas.rollouts.generator import Prompt, Sampling, completion_limits
from atlas.rollouts.vllm.pool import ServerPool
from atlas.rollouts.vllm.wire import Sampled, SampleRequest, check_sampling
from atlas.run.seeding import derive_seed
from atlas.types import Completion

_SEED_BITS = 62
"""vLLM adds a sample's place to the seed, and takes no more than 63 bits."""


class VLLMGenerator:
    """Completes prompts on servers.

    Args:
        end_ids: Tokens that end a completion (`end_tokens.end_ids`).
        seeded: The servers take a seed with each request. On a CPU that kills an engine that
            computes prompts in pieces (``--enable-chunked-prefill``, vLLM's default).
        policy_version: Of the weights that completions must have been sampled with; the trainer
            raises it after each update. None for a model that doesn't change: completions then say
            0, and nothing is checked.
    """

    def __init__(
        self,
        pool: ServerPool,
        tokenizer: PreTrainedTokenizerBase,
        *,
        end_ids: Iterable[int] = (),
        seeded: bool = False,
        policy_version: int | None = None,
    ) -> None:
        self.pool = pool
        self.tokenizer = tokenizer
        self.policy_version = policy_version
        self.newest_version = policy_version
        """A completion that is under way when weights are replaced may end with these."""
        self._end_ids = tuple(sorted(end_ids))
        self._seeded = seeded

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        num_samples: int = 1,
        seed: int = 0,
        first_place: int = 0,
    ) -> list[list[Completion]]:
        """Complete every prompt ``num_samples`` times; see `Generator.generate`.

        Raises:
            AtlasError: A prompt leaves no room in the window, a server refuses, or requests were
                lost too often.
            ValueError: A prompt is empty.
        """
        if not prompts:
            return []
        check_sampling(sampling)
        limits = completion_limits(prompts, sampling, self.pool.window)
        asks = [
            SampleRequest(
                prompt=prompt,
                sampling=sampling,
                limit=limit,
                num_samples=num_samples,
                seed=_seed(seed, first_place + index) if self._seeded else None,
                end_ids=self._end_ids,
            )
            for index, (prompt, limit) in enumerate(zip(prompts, limits, strict=True))
        ]
        groups = self.pool.complete(asks, self._accept())
        return [
            self._completions(prompt, group) for prompt, group in zip(prompts, groups, strict=True)
        ]

    def _accept(self) -> Callable[[Sampled], str]:
        """Return what tells why a sample's weights are wrong, as seen from now on."""
        oldest = self.policy_version
        if oldest is None:
            return lambda _: ""

        def reason(sampled: Sampled) -> str:
            newest = max(oldest, self.newest_version or 0)
            found = [int(name) if name.isdigit() else None for name in sampled.versions]
            # Several: weights were updated while it was sampled, which only async_rollouts allows.
            if found and all(one is not None and oldest <= one <= newest for one in found):
                return ""
            said = ", ".join(sampled.versions) or "none"
            return f"the server sampled with the weights of version {said}, not {oldest}"

        return reason

    def _completions(self, prompt: Prompt, group: Sequence[Sampled]) -> list[Completion]:
        texts = self.tokenizer.batch_decode(
            [list(one.token_ids) for one in group], skip_special_tokens=True
        )
        return [
            Completion(
                prompt_ids=tuple(prompt),
                token_ids=one.token_ids,
                logprobs=one.logprobs,
                text=text.strip(),
                finish_reason=one.finish_reason,
                policy_version=0 if self.policy_version is None else int(one.versions[0]),
            )
            for one, text in zip(group, texts, strict=True)
        ]


def require_versions(pool: ServerPool) -> None:
    """Refuse servers whose answers don't say which weights sampled them.

    Raises:
        AtlasError: One of them has no endpoint that says so.
    """
    for server in pool.servers:
        if not server.facts.tells_versions:
            raise AtlasError(
                f"the server at {server.url} doesn't say which weights it samples with; start it "
                "with atlas serve (vLLM's own flag is --enable-scale-out)"
            )


def _seed(seed: int, index: int) -> int:
    return derive_seed(seed, "prompt", index) % 2**_SEED_BITS
