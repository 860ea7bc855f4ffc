"""Sampling in process: tokens a second, kernels and waits a token."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch

from atlas.rollouts.generator import Sampling
from atlas.rollouts.local.engine import LocalGenerator
from gpu_sections.setting import Found, Setting

_FEW = 8
"""Tokens of the run whose kernels are counted."""


class _Words:
    """A tokenizer as the sampler needs it."""

    eos_token_id = pad_token_id = 1
    all_special_ids = (1,)

    def batch_decode(self, rows: Sequence[Any], **_: Any) -> list[str]:
        return [""] * len(rows)


def sampling(setting: Setting, found: Found) -> None:
    """An 8B model in bfloat16 at 32, 128 and 512 rows, 256 tokens of prompt, 64 new ones."""
    model: Any = setting.model(dtype=setting.of(torch.float32, torch.bfloat16))
    model.generation_config.eos_token_id = model.config.eos_token_id = None
    words: Any = _Words()
    generator = LocalGenerator(model, words)
    new, sizes, prompt = setting.of((_FEW, (4,), 12), (64, (32, 128, 512), 256))
    how = Sampling(max_new_tokens=new, temperature=0.7, top_p=0.95)
    prompts = [list(range(5 + i, 5 + i + prompt)) for i in range(max(1, sizes[-1] // 32))]
    generator.generate(prompts[:1], how, num_samples=2)
    found["decoder"] = str(generator._choice._reason or "from the weights")
    for rows in sizes:
        members = min(rows, 32)
        setting.forget_peak()
        with setting.timed(found, f"{rows} rows"):
            done = generator.generate(prompts[: rows // members], how, num_samples=members)
        count = sum(len(one.token_ids) for group in done for one in group)
        found[f"{rows} rows, tokens a second"] = round(count / found[f"{rows} rows_s"])
        found[f"{rows} rows, peak GB"] = setting.peak_gb()
    if setting.tiny:
        return
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        generator.generate(prompts[:1], how, num_samples=32)
    torch.cuda.set_sync_debug_mode("default")
    waits = sum("synchroniz" in str(one.message) for one in seen)
    found["waits a token"] = round(waits / new, 2)
    few = Sampling(max_new_tokens=_FEW, temperature=0.7, top_p=0.95)
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        generator.generate(prompts[:1], few, num_samples=32)
    kernels = sum(event.count for event in profile.key_averages())
    found["kernels a token"] = round(kernels / _FEW)
