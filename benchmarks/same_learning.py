"""The same learning: reward curves with all the fast paths on, beside plain ones.

    python benchmarks/same_learning.py                       about a minute on two cores

One toy task: a small random model is rewarded for the share of even tokens in what it says. The
fast side samples with the local engine (one prefill a group, rows that end leave) and updates with
`update` (shared prompts, packed rows, micro-batches by length). The plain side runs the whole
sequence anew for every token that it samples, and computes every completion with its own prompt in
one batch. Seeds are the same, so what differs is rounding, and what becomes of it.
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
from collections.abc import Sequence

import torch
from rich.console import Console
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from atlas.from_scratch.model.tokenizer import train_tokenizer
from atlas.models.passes.forward import logprobs
from atlas.objectives.advantages import group_advantages
from atlas.objectives.loss import LossInputs, grpo_loss
from atlas.objectives.loss_types import LossSettings
from atlas.objectives.reduction import count
from atlas.parallel.engine.plain import PlainEngine
from atlas.rollouts.generator import Sampling
from atlas.rollouts.local.engine import LocalGenerator
from atlas.rollouts.local.sampler import draw
from atlas.run.seeding import derive_seed
from atlas.training.update import UpdateSettings, update
from atlas.types import Tokens

console = Console(highlight=False, width=120)

PROMPTS, MEMBERS, NEW_TOKENS, LAST = 6, 8, 16, 5
SETTINGS = LossSettings(loss_type="dapo", beta=0.02)
Samples = list[tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]]]
"""Prompt, completion and its log-probabilities, of every row."""


def main() -> None:
    """Train both sides on every seed and compare where they end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    ends: dict[str, list[float]] = {"fast": [], "plain": []}
    for seed in arguments.seeds:
        for side, found in ends.items():
            curve = Learner(seed, fast=side == "fast").train(arguments.steps)
            found.append(statistics.mean(curve[-LAST:]))
            points = "  ".join(f"{value:.2f}" for value in curve[:: max(1, len(curve) // 8)])
            console.print(f"seed {seed}  {side:<5}  {points}  ends at {found[-1]:.3f}")
    noise = statistics.stdev(ends["plain"])
    apart = statistics.mean(ends["fast"]) - statistics.mean(ends["plain"])
    verdict = "within" if abs(apart) <= noise else "OUTSIDE"
    console.print(
        f"fast ends at {statistics.mean(ends['fast']):.3f}, plain at "
        f"{statistics.mean(ends['plain']):.3f}: {apart:+.3f} apart, {verdict} the deviation "
        f"between seeds ({noise:.3f})"
    )


class Learner:
    """One model in training on one seed."""

    def __init__(self, seed: int, *, fast: bool) -> None:
        self.seed, self.fast = seed, fast
        self.tokenizer: PreTrainedTokenizerFast = train_tokenizer(["even and odd"], vocab_size=300)
        torch.manual_seed(derive_seed(seed, "weights"))
        self.model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(self.tokenizer),
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=128,
                pad_token_id=self.tokenizer.pad_token_id,
                eos_token_id=self.tokenizer.eos_token_id,
                bos_token_id=None,
            )
        ).eval()
        self.reference = copy.deepcopy(self.model).requires_grad_(False)
        self.engine = PlainEngine(
            self.model, learning_rate=3e-3, total_steps=1000, scheduler="constant", warmup_ratio=0.0
        )

    def train(self, steps: int) -> list[float]:
        """Return the mean reward of every step."""
        curve = []
        for step in range(steps):
            rng = random.Random(derive_seed(self.seed, "prompts", step))
            vocabulary = range(8, len(self.tokenizer))
            prompts = [rng.choices(vocabulary, k=rng.randint(8, 24)) for _ in range(PROMPTS)]
            seed = derive_seed(self.seed, "sampling", step)
            samples = (self._sample if self.fast else self._sample_plainly)(prompts, seed)
            rewards_PG = torch.tensor(
                [sum(token % 2 == 0 for token in ids) / len(ids) for _, ids, _ in samples]
            ).view(PROMPTS, MEMBERS)
            found = group_advantages(rewards_PG, torch.ones_like(rewards_PG).bool())
            (self._update if self.fast else self._update_plainly)(
                samples, found.advantages_PG.flatten(), found.used_PG.flatten()
            )
            curve.append(float(rewards_PG.mean()))
        return curve

    def _sample(self, prompts: Sequence[Sequence[int]], seed: int) -> Samples:
        generator = LocalGenerator(self.model, self.tokenizer)
        groups = generator.generate(
            prompts,
            Sampling(max_new_tokens=NEW_TOKENS, temperature=1.0),
            num_samples=MEMBERS,
            seed=seed,
        )
        return [(c.prompt_ids, c.token_ids, c.logprobs) for group in groups for c in group]

    @torch.no_grad()
    def _sample_plainly(self, prompts: Sequence[Sequence[int]], seed: int) -> Samples:
        """Sample row by row of each group together, every token from a whole forward pass."""
        chance = torch.Generator().manual_seed(seed)
        sampling = Sampling(max_new_tokens=NEW_TOKENS, temperature=1.0)
        samples: Samples = []
        for prompt in prompts:
            ids_GL = torch.tensor([prompt] * MEMBERS)
            logprobs_GT = torch.empty(MEMBERS, 0)
            for _ in range(NEW_TOKENS):
                logits_GV = self.model(input_ids=ids_GL, use_cache=False).logits[:, -1]
                tokens_G, new_G = draw(logits_GV, sampling, chance)
                ids_GL = torch.cat([ids_GL, tokens_G.unsqueeze(1)], dim=1)
                logprobs_GT = torch.cat([logprobs_GT, new_G.unsqueeze(1)], dim=1)
            rows = zip(ids_GL[:, len(prompt) :].tolist(), logprobs_GT.tolist(), strict=True)
            samples += [self._ended(prompt, ids, logprobs) for ids, logprobs in rows]
        return samples

    def _ended(
        self, prompt: Sequence[int], ids: list[int], logprobs: list[float]
    ) -> tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]]:
        end = self.tokenizer.eos_token_id
        length = ids.index(end) + 1 if end in ids else len(ids)
        return tuple(prompt), tuple(ids[:length]), tuple(logprobs[:length])

    def _update(self, samples: Samples, advantages_B: torch.Tensor, used_B: torch.Tensor) -> None:
        made = [
            Tokens.of(
                prompt,
                ids,
                logprobs=sampled,
                advantage=float(advantages_B[row]) if used_B[row] else None,
            )
            for row, (prompt, ids, sampled) in enumerate(samples)
        ]
        # A budget that cuts the step into several micro-batches.
        settings = UpdateSettings(loss=SETTINGS, temperature=1.0, max_tokens=300)
        update(self.engine, self.reference, made, settings)

    def _update_plainly(
        self, samples: Samples, advantages_B: torch.Tensor, used_B: torch.Tensor
    ) -> None:
        rows = [Tokens.of(prompt, ids) for prompt, ids, _ in samples]
        policy = logprobs(self.model, rows, share=False)
        mask_BT = policy.mask_BT & used_B.unsqueeze(1)
        rollout_BT = torch.zeros(mask_BT.shape)
        for row, (_, _, sampled) in enumerate(samples):
            rollout_BT[row, : len(sampled)] = torch.tensor(sampled)
        with torch.no_grad():
            ref_BT = logprobs(self.reference, rows, share=False).logprobs_BT
        outputs = grpo_loss(
            LossInputs(
                policy_logprobs_BT=policy.logprobs_BT,
                advantages_BT=advantages_B.unsqueeze(-1),
                mask_BT=mask_BT,
                step_counts=count(mask_BT),
                rollout_logprobs_BT=rollout_BT,
                ref_logprobs_BT=ref_BT,
            ),
            SETTINGS,
        )
        self.engine.backward(outputs.loss)
        self.engine.step()


if __name__ == "__main__":
    main()
