"""Tokens a second of sampling: ours against `transformers.generate`, in process.

Run: ``.venv/bin/python benchmarks/generation.py [--rows 64 256 512] [--threads 2] [--repeats 5]
[--dtypes f32 bf16]``. The model has 4 million parameters, a prompt 32 tokens and 8 samples, a
completion exactly 64 tokens. Both sides alternate in one process and sample at temperature 1 from
the whole vocabulary; the table has medians. A precision that the processor only emulates is left
out. The last line is a student's attempts: prompts of 128 tokens of which 96 are those of all, and
a sample of 16 tokens each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from sides import machine
from sides.models import make_model, make_prompts, make_tokenizer
from sides.workloads import MATMUL_PRECISION
from transformers import PreTrainedModel

from atlas.rollouts.generator import Sampling
from atlas.rollouts.local.engine import LocalGenerator

PROMPT, NEW, GROUP = 32, 64, 8
ATTEMPTS, ATTEMPT_PROMPT, IN_COMMON, ATTEMPT_NEW = 64, 128, 96, 16
TARGET = 2.0


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 256, 512])
    parser.add_argument("--dtypes", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    machine.prepare(args.threads)
    table = Table(
        *("precision", "rows", "transformers tokens/s", "ours tokens/s", "ratio", "target"),
        *("reached", "GFLOP/s peak", "share"),
        title=f"Sampling, {args.threads} threads, median of {args.repeats}, "
        f'float32 matmul precision "{MATMUL_PRECISION}"',
    )
    for dtype in args.dtypes:
        if not machine.computes_in(dtype):
            table.add_row(dtype, "-", "-", "-", "-", "-", f"no {dtype} instructions")
            continue
        model = make_model("4M", dtype, end_probability=0.0)
        peak = machine.measured_peak(dtype)
        for rows in args.rows:
            theirs, ours = _compare(model, rows, args.repeats)
            reached = "yes" if ours / theirs >= TARGET else "no"
            share = ours * _operations_a_token(model) / peak
            cells = (f"{theirs:,.0f}", f"{ours:,.0f}", f"{ours / theirs:.2f}", f"{TARGET:g}")
            table.add_row(dtype, str(rows), *cells, reached, f"{peak / 1e9:.0f}", f"{share:.0%}")
        if dtype == "f32":
            theirs, ours = _attempts(model, args.repeats)
            cells = (f"{theirs:,.0f}", f"{ours:,.0f}", f"{ours / theirs:.2f}")
            table.add_row(dtype, f"{ATTEMPTS} that begin alike", *cells, "-", "-", "-", "-")
    Console(width=140).print(table)


def _compare(model: PreTrainedModel, rows: int, repeats: int) -> tuple[float, float]:
    """Return tokens a second of transformers and of ours, a group to each prompt."""
    prompts = make_prompts(rows // GROUP, PROMPT, model.config.vocab_size)
    return _measured(model, prompts, GROUP, NEW, repeats)


def _attempts(model: PreTrainedModel, repeats: int) -> tuple[float, float]:
    """Return the same for prompts that begin alike, a sample to each."""
    [head] = make_prompts(1, IN_COMMON, model.config.vocab_size, seed=1)
    own = make_prompts(ATTEMPTS, ATTEMPT_PROMPT - IN_COMMON, model.config.vocab_size)
    return _measured(model, [[*head, *tokens] for tokens in own], 1, ATTEMPT_NEW, repeats)


def _measured(
    model: PreTrainedModel, prompts: list[list[int]], group: int, new: int, repeats: int
) -> tuple[float, float]:
    engine = LocalGenerator(model, make_tokenizer(model.config.vocab_size))
    sampling = Sampling(max_new_tokens=new, temperature=1.0)
    ids = torch.tensor(prompts).repeat_interleave(group, dim=0)
    net: Any = model

    def theirs() -> int:
        found = net.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            do_sample=True,
            temperature=1.0,
            top_k=0,
        )
        return found[:, len(prompts[0]) :].numel()

    def ours() -> int:
        groups = engine.generate(prompts, sampling, num_samples=group)
        return sum(completion.num_tokens for group in groups for completion in group)

    speeds: dict[str, list[float]] = {"theirs": [], "ours": []}
    for _ in range(repeats + 1):
        for name, run in (("theirs", theirs), ("ours", ours)):
            speeds[name].append(_speed(run, len(ids) * new))
    return median(speeds["theirs"][1:]), median(speeds["ours"][1:])


def _speed(run: Callable[[], int], expected: int) -> float:
    started = machine.now()
    num_tokens = run()
    seconds = machine.now() - started
    assert num_tokens == expected, f"{num_tokens} tokens, not {expected}"
    return num_tokens / seconds


def _operations_a_token(model: PreTrainedModel) -> float:
    """Return what a token needs: 2 a weight, and its part of a prompt that is computed once."""
    weights = sum(p.numel() for p in model.parameters())  # the head is the embedding
    body = weights - model.get_input_embeddings().weight.numel()
    return 2 * (weights + body * PROMPT / (GROUP * NEW))


if __name__ == "__main__":
    main()
