"""The in-process rollout engine, on any `transformers` causal language model.

A queue of groups, longest prompts first. Every prompt is computed once, whatever the number of
samples. Rows that have ended leave the batch, and where the decoder can take them waiting groups
enter, so that the batch stays full::

    queue ──admit──► rows in flight ──step, draw──► one token more each ──► ended: leave
                          ▲                                  │
                          └──────────────────────────────────┘

Which decoder runs the model is said in `decoder.py`.

Shapes: P prompts, G samples, B rows in flight, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atlas.models.checkpoints import check_rows
from atlas.rollouts.end_tokens import end_ids
from atlas.rollouts.generator import Prompt, Sampling, completion_limits
from atlas.rollouts.local.chance import row_keys
from atlas.rollouts.local.decoder import Decoder
from atlas.rollouts.local.decoder_choice import DecoderChoice
from atlas.rollouts.local.room import rows_in_memory
from atlas.rollouts.local.rows import Rows
from atlas.rollouts.local.sampler import draw
from atlas.rollouts.local.stop_strings import StopStrings
from atlas.types import Completion

# Rows leave only once this share of them has ended: copying the cache costs.
_COMPACT_BELOW = 0.75
# While groups wait, it pays earlier.
_COMPACT_BELOW_QUEUED = 0.9
# On an accelerator, asking how many rows run waits for it; so it is asked every so many tokens.
_ASK_EVERY = 8


class LocalGenerator:
    """Completes prompts with a model in this process.

    Args:
        model: any causal language model that takes a `DynamicCache`.
        tokenizer: decodes completions; they are ended by its end-of-sequence token, and by those
            of the model's configuration.
        dtype: precision to compute in; None: that of the model's weights. bfloat16 samples float32
            weights that are trained as an update under autocast sees them, from a copy that is
            made for each call. Tokens are drawn, and their log-probabilities computed, in float32.
        max_rows: most rows decoded at a time, where memory holds so many (a group is never cut).
        policy_version: stamped on every completion; the trainer raises it after each update.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        dtype: torch.dtype | None = None,
        max_rows: int = 512,
        policy_version: int = 0,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_rows = max_rows
        self.policy_version = policy_version
        self._dtype = dtype
        self._choice = DecoderChoice(model, self._pad_id, dtype)

    @torch.inference_mode()
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

        A completion depends on the seed and on its own place (prompt, sample), not on what is
        computed beside it, up to rounding in the model.

        Raises:
            AtlasError: A prompt leaves no room for a token in the model's window, or has a token
                that the model has no row for.
            ValueError: A prompt is empty.
        """
        if not prompts:
            return []
        check_rows(self.model, self.tokenizer, prompts)
        window = getattr(self.model.config, "max_position_embeddings", None)
        limits = completion_limits(prompts, sampling, window)
        device = self.model.device
        rows = Rows(
            torch.tensor(limits, device=device).repeat_interleave(num_samples),
            row_keys(seed, len(prompts), num_samples, device, first=first_place).flatten(),
            self._eos_ids,
            StopStrings(self.tokenizer, sampling.stop) if sampling.stop else None,
        )
        was_training = self.model.training
        self.model.eval()
        try:
            longest = max(
                len(prompt) + limit for prompt, limit in zip(prompts, limits, strict=True)
            )
            most = min(self.max_rows, rows_in_memory(self.model, longest, self._dtype))
            decoder = self._choice.decoder(prompts, longest)
            with decoder.computing():
                self._run(decoder, rows, prompts, sampling, num_samples, most)
        finally:
            self.model.train(was_training)
        return self._completions(prompts, rows, num_samples)

    def _run(
        self,
        decoder: Decoder,
        rows: Rows,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        num_samples: int,
        max_rows: int,
    ) -> None:
        # Neighbours in length enter together (padding is computed too), and the longest first:
        # later ones then fit beside them.
        queue = deque(sorted(range(len(prompts)), key=lambda i: -len(prompts[i])))
        seen = _SeenTokens(self.model, sampling)
        logits_BV: Tensor | None = None
        since_asked = 0
        while True:
            room = (max_rows - len(rows)) // num_samples
            if queue and (not len(rows) or (decoder.joins and room > 0)):
                chosen = [queue.popleft() for _ in range(min(max(room, 1), len(queue)))]
                rows.admit([i * num_samples + g for i in chosen for g in range(num_samples)])
                new_BV = decoder.admit([prompts[i] for i in chosen], num_samples)
                logits_BV = new_BV if logits_BV is None else torch.cat([logits_BV, new_BV])
                seen.admit([prompts[i] for i in chosen], num_samples)
            assert logits_BV is not None
            tokens_B, logprobs_B = draw(
                logits_BV, sampling, rows.keys_B, rows.positions_B, seen.tokens_BV
            )
            rows.record(tokens_B, logprobs_B)
            seen.add(tokens_B)
            since_asked += 1
            if tokens_B.device.type == "cpu" or since_asked == _ASK_EVERY:
                since_asked = 0
                kept = self._leaving(rows, waiting=bool(queue) and decoder.joins)
                if kept is not None:
                    tokens_B = tokens_B[kept]
                    seen.keep(kept)
                    decoder.keep(kept)
            if len(rows):
                logits_BV = decoder.step(tokens_B)
            elif queue:
                logits_BV = None
            else:
                return

    def _leaving(self, rows: Rows, *, waiting: bool) -> list[int] | None:
        """Let ended rows go where that pays; returns the places of those that stay, if any left."""
        share = _COMPACT_BELOW_QUEUED if waiting else _COMPACT_BELOW
        return rows.compact() if rows.num_running() <= share * len(rows) else None

    def _completions(
        self, prompts: Sequence[Prompt], rows: Rows, num_samples: int
    ) -> list[list[Completion]]:
        sampled = rows.results()
        texts = self.tokenizer.batch_decode(
            [list(row.token_ids) for row in sampled], skip_special_tokens=True
        )
        made = [
            Completion(
                prompt_ids=tuple(prompts[index // num_samples]),
                token_ids=row.token_ids,
                logprobs=row.logprobs,
                text=text.strip(),
                finish_reason="stop" if row.stopped else "length",
                policy_version=self.policy_version,
            )
            for index, (row, text) in enumerate(zip(sampled, texts, strict=True))
        ]
        return [made[i : i + num_samples] for i in range(0, len(made), num_samples)]

    @property
    def _eos_ids(self) -> frozenset[int]:
        return end_ids(self.tokenizer, self.model.config, self.model.generation_config)

    @property
    def _pad_id(self) -> int:
        pad: Any = self.tokenizer.pad_token_id
        return min(self._eos_ids) if pad is None else pad


class _SeenTokens:
    """Which tokens each row in flight has seen; kept only for a repetition penalty."""

    def __init__(self, model: PreTrainedModel, sampling: Sampling) -> None:
        self._needed = sampling.repetition_penalty != 1
        self._shape_source: Any = model
        self.tokens_BV: Tensor | None = None

    def admit(self, prompts: Sequence[Prompt], num_samples: int) -> None:
        if not self._needed:
            return
        device = self._shape_source.device
        width = self._shape_source.config.get_text_config().vocab_size
        new_PV = torch.zeros(len(prompts), width, dtype=torch.bool, device=device)
        for place, prompt in enumerate(prompts):
            new_PV[place, torch.tensor(prompt, device=device)] = True
        new_BV = new_PV.repeat_interleave(num_samples, dim=0)
        self.tokens_BV = new_BV if self.tokens_BV is None else torch.cat([self.tokens_BV, new_BV])

    def add(self, tokens_B: Tensor) -> None:
        if self.tokens_BV is not None:
            self.tokens_BV.scatter_(1, tokens_B.unsqueeze(-1), True)

    def keep(self, rows: Sequence[int]) -> None:
        if self.tokens_BV is not None:
            self.tokens_BV = self.tokens_BV[list(rows)]
