"""What precision this processor computes well in: products of float32 matrices, and bfloat16.

PyTorch may multiply float32 matrices on faster units of lower precision where it is permitted to.
On AMD processors with AVX-512 the permission costs nothing: the product goes to another library,
which uses the wide registers and keeps float32's accuracy. Elsewhere (AMX, GPUs) it would round to
bfloat16 or TF32. So it is given only there, and only after a product has shown the accuracy.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from atlas.config.parts.model import ModelConfig
    from atlas.config.parts.optim import MatmulPrecision


_CPUINFO = Path("/proc/cpuinfo")
_ACCURATE = 1e-5
"""Largest relative error of a product of 256 terms in float32; bfloat16's is about 3e-3."""


def set_matmul_precision(choice: MatmulPrecision) -> str:
    """Set the precision for this process; returns what was set."""
    chosen = _fastest_accurate() if choice == "auto" else choice
    torch.set_float32_matmul_precision(chosen)
    return chosen


def _fastest_accurate() -> str:
    if torch.cuda.is_available() or not gains_from_permission(_cpuinfo()):
        return "highest"
    torch.set_float32_matmul_precision("medium")
    return "medium" if product_error() < _ACCURATE else "highest"


def gains_from_permission(cpuinfo: str) -> bool:
    """Tell from the text of /proc/cpuinfo whether this is a processor that only gains by it."""
    flags = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "").split()
    return "AuthenticAMD" in cpuinfo and "avx512f" in flags and "amx_tile" not in flags


def product_error() -> float:
    """Return the relative error of a float32 product as it is computed now."""
    random = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=random) for _ in range(2))
    exact = left.double() @ right.double()
    return float((left @ right - exact).norm() / exact.norm())


def _cpuinfo() -> str:
    return _CPUINFO.read_text(encoding="utf-8") if _CPUINFO.is_file() else ""


def computes_bf16() -> bool:
    """Tell whether bfloat16 is computed by instructions of its own.

    Where it is emulated (x86 without AVX-512), a product of matrices takes a hundred times as long
    as in float32.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def trains_in_bf16(config: ModelConfig) -> bool:
    """Tell whether a training computes in bfloat16; its trained weights are float32 either way."""
    if config.precision == "auto":
        return sampling_dtype() == torch.bfloat16
    return config.precision == "bf16"


def sampling_dtype() -> torch.dtype:
    """Return what models that are only sampled from are loaded in: what a training computes in."""
    fast = torch.cuda.is_available() and computes_bf16()
    return torch.bfloat16 if fast else torch.float32


def training_device() -> torch.device:
    """Return where one process trains: on its GPU where there is one.

    By its number: transformers loads weights in threads, whose current GPU is the first one.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def computing(device: torch.device, autocast: bool) -> contextlib.AbstractContextManager[object]:
    """Return the context that passes on a device run in: in bfloat16 where that is safe, or as is.

    Args:
        device: Where they are computed.
        autocast: In bfloat16.
    """
    if not autocast:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
