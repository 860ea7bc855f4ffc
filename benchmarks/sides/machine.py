"""What the machine can do, and what a step needs of it.

A step needs 2 operations per weight and token in a forward pass and 4 in a backward pass; prompts
once a group, in generation, reference and update alike; the head on completion tokens only.
Attention is not counted.
"""

from __future__ import annotations

import platform
import re
import time
from pathlib import Path
from statistics import median

import psutil
import torch
from transformers import PreTrainedModel

from sides.models import DTYPES
from sides.workloads import MATMUL_PRECISION, Workload

_clock = time.perf_counter


def use_processor_time() -> None:
    """Measure seconds of this process's threads: what else runs on the machine counts little."""
    global _clock
    _clock = time.process_time


def now() -> float:
    """Return the seconds of the clock that measurements use."""
    return _clock()


def prepare(threads: int) -> None:
    """Set what both sides run under."""
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(MATMUL_PRECISION)


def description() -> str:
    """Return what a table of times has to say about the machine."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    facts = dict(re.split(r"\s*:\s*", line, maxsplit=1) for line in lines if ":" in line)
    flags = facts.get("flags", "").split()
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{facts.get('model name', platform.processor())}, {psutil.cpu_count()} cores, "
        f"{' '.join(wide) or platform.machine()}, {memory:.0f} GB, torch {torch.__version__}"
    )


def measured_peak(dtype: str, side: int = 2048) -> float:
    """Return operations a second of a product of square matrices, median of seven."""
    left, right = (torch.randn(side, side).to(DTYPES[dtype]) for _ in range(2))
    seconds = []
    for _ in range(9):
        started = now()
        torch.mm(left, right)
        seconds.append(now() - started)
    return 2 * side**3 / median(seconds[2:])


def computes_in(dtype: str) -> bool:
    """Tell whether the processor has instructions for a precision; without, it is emulated."""
    return dtype == "f32" or measured_peak(dtype, 256) > measured_peak("f32", 256) / 4


def needed(model: PreTrainedModel, workload: Workload, mean_length: float) -> float:
    """Return the operations that one step needs."""
    embedding = model.get_input_embeddings().weight.numel()
    body = sum(p.numel() for p in model.parameters()) - embedding  # tied: once in the sum
    completion = workload.num_prompts * workload.group_size * mean_length
    prompt = workload.num_prompts * workload.prompt_length
    forward = 2 * (body * (prompt + completion) + embedding * completion)
    return 5 * forward  # generation, reference, update forward, and twice that backward
