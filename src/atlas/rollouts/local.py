"""The in-process rollout engine, on any `transformers` causal language model.

Every prompt is computed once, whatever the number of samples; rows that have ended leave the
batch, so that a long completion doesn't hold up the short ones.

Shapes: P prompts, G samples, B = P * G rows (fewer as rows end), L longest prompt, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atlas.rollouts.generator import Prompt, Sampling
from atlas.rollouts.growing_cache import GrowingCache
from atlas.rollouts.sampler import draw
from atlas.types import Completion

# Batches are gathered again only once this share of the rows has ended: copying the cache costs.
_COMPACT_BELOW = 0.75


class LocalGenerator:
    """Completes prompts with a model in this process.

    Args:
        model: any causal language model that takes a `DynamicCache`.
        tokenizer: decodes completions; they are ended by its end-of-sequence token, and by those
            of the model's configuration.
        max_rows: most rows decoded at a time.
        policy_version: stamped on every completion; the trainer raises it after each update.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_rows: int = 512,
        policy_version: int = 0,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_rows = max_rows
        self.policy_version = policy_version

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, num_samples: int = 1, seed: int = 0
    ) -> list[list[Completion]]:
        """Complete every prompt ``num_samples`` times; see `Generator.generate`."""
        random = torch.Generator(device=self.model.device).manual_seed(seed)
        groups_per_batch = max(1, self.max_rows // num_samples)
        # Neighbours in length share a batch: padding is computed too.
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        results: dict[int, list[Completion]] = {}
        was_training = self.model.training
        self.model.eval()
        try:
            for start in range(0, len(order), groups_per_batch):
                chosen = order[start : start + groups_per_batch]
                batch = self._complete([prompts[i] for i in chosen], sampling, num_samples, random)
                results.update(zip(chosen, batch, strict=True))
        finally:
            self.model.train(was_training)
        return [results[i] for i in range(len(prompts))]

    def _complete(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        num_samples: int,
        random: torch.Generator,
    ) -> list[list[Completion]]:
        ids_PL, mask_PL = left_pad(prompts, self._pad_id, self.model.device)
        cache = GrowingCache(self.model.config)
        logits_PV = self._forward(ids_PL, mask_PL, cache)
        cache.batch_repeat_interleave(num_samples)
        rows = _Rows(mask_PL.repeat_interleave(num_samples, dim=0), self._eos_ids)
        logits_BV = logits_PV.repeat_interleave(num_samples, dim=0)
        for step in range(sampling.max_new_tokens):
            tokens_B, logprobs_B = draw(logits_BV, sampling, random)
            if rows.append(tokens_B, logprobs_B) == 0 or step == sampling.max_new_tokens - 1:
                break
            kept_B = rows.compact()
            if kept_B is not None:
                cache.batch_select_indices(kept_B)
                tokens_B = tokens_B[kept_B]
            logits_BV = self._forward(tokens_B.unsqueeze(-1), rows.mask_BL, cache)
        return self._completions(prompts, rows, num_samples)

    def _forward(self, ids_BL: Tensor, mask_BL: Tensor, cache: GrowingCache) -> Tensor:
        """Run the model on new tokens and return the logits of the last position, [B, V]."""
        positions_BL = (mask_BL.cumsum(dim=-1) - 1).clamp(min=0)[:, -ids_BL.shape[1] :]
        model: Any = self.model
        output = model(
            input_ids=ids_BL,
            attention_mask=mask_BL,
            position_ids=positions_BL,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1]

    def _completions(
        self, prompts: Sequence[Prompt], rows: _Rows, num_samples: int
    ) -> list[list[Completion]]:
        texts = self.tokenizer.batch_decode(rows.tokens, skip_special_tokens=True)
        made = [
            Completion(
                prompt_ids=tuple(prompts[row // num_samples]),
                token_ids=tuple(rows.tokens[row]),
                logprobs=tuple(rows.logprobs[row]),
                text=text.strip(),
                finish_reason="stop" if rows.ended(row) else "length",
                policy_version=self.policy_version,
            )
            for row, text in enumerate(texts)
        ]
        return [made[i : i + num_samples] for i in range(0, len(made), num_samples)]

    @property
    def _eos_ids(self) -> frozenset[int]:
        # Chat models name several, in different places: <|im_end|> here, <|endoftext|> there.
        named: list[Any] = [
            self.tokenizer.eos_token_id,
            self.model.config.eos_token_id,
            getattr(self.model.generation_config, "eos_token_id", None),
        ]
        ids = [id for name in named for id in (name if isinstance(name, list) else [name])]
        return frozenset(id for id in ids if id is not None)

    @property
    def _pad_id(self) -> int:
        pad: Any = self.tokenizer.pad_token_id
        return min(self._eos_ids) if pad is None else pad


class _Rows:
    """The rows of one batch: their tokens so far, and which of them still run.

    ``alive`` holds, for each row of the batch that is still computed, its index in ``tokens``.
    """

    def __init__(self, mask_BL: Tensor, eos_ids: frozenset[int]) -> None:
        self.mask_BL = mask_BL
        self.tokens: list[list[int]] = [[] for _ in range(mask_BL.shape[0])]
        self.logprobs: list[list[float]] = [[] for _ in range(mask_BL.shape[0])]
        self._eos_ids = eos_ids
        self._alive = list(range(mask_BL.shape[0]))
        self._running = [True] * mask_BL.shape[0]

    def append(self, tokens_B: Tensor, logprobs_B: Tensor) -> int:
        """Take one token a row; returns how many rows still run."""
        drawn = zip(self._alive, tokens_B.tolist(), logprobs_B.tolist(), strict=True)
        for row, token, logprob in drawn:
            if self._running[row]:
                self.tokens[row].append(token)
                self.logprobs[row].append(logprob)
                self._running[row] = token not in self._eos_ids
        self.mask_BL = torch.cat([self.mask_BL, self.mask_BL.new_ones(len(self._alive), 1)], dim=1)
        return sum(self._running)

    def compact(self) -> Tensor | None:
        """Drop ended rows where that pays; returns the positions kept, None if nothing changed."""
        kept = [i for i, row in enumerate(self._alive) if self._running[row]]
        if len(kept) > _COMPACT_BELOW * len(self._alive):
            return None
        kept_B = torch.tensor(kept, device=self.mask_BL.device)
        self._alive = [self._alive[i] for i in kept]
        self.mask_BL = self.mask_BL[kept_B]
        return kept_B

    def ended(self, row: int) -> bool:
        """Tell whether the row ended by itself."""
        return not self._running[row]


def left_pad(prompts: Sequence[Prompt], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ids [P, L] and mask [P, L] (1 = real), padded on the left."""
    longest = max(len(prompt) for prompt in prompts)
    ids = [[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
