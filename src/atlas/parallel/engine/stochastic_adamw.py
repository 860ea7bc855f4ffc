"""AdamW whose weights and states are all bfloat16: 8 bytes a parameter instead of 16.

    m = b1 m + (1 - b1) g        v = b2 v + (1 - b2) g^2
    w = w (1 - lr * decay) - lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

is AdamW (Loshchilov and Hutter 2019, algorithm 2), computed in float32 and written back to bfloat16
by stochastic rounding: up with the probability of the fraction that is cut off. Rounded to the
nearest, a change below one part in 256 would always be lost, and late in training nearly all are;
so, what is written is right on average (Gupta et al. 2015, section 3).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_CHUNK = 2**22
"""Numbers that are brought to float32 at a time: the largest matrix would take gigabytes."""


class StochasticAdamW(torch.optim.Optimizer):
    """AdamW in bfloat16.

    Args:
        params: Parameters or groups of them, all bfloat16.
        betas: Of the two moments.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled decay.
        seed: Of the rounding; the same seed and step round alike.

    Raises:
        ValueError: A parameter is not bfloat16.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)
        self._seed = seed
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.dtype != torch.bfloat16:
                    raise ValueError(f"a parameter is {parameter.dtype}; it must be bfloat16")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every parameter that has a gradient."""
        place = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                place += 1
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group, place)

    def _update(
        self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], place: int
    ) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["m"] = torch.zeros_like(parameter)
            state["v"] = torch.zeros_like(parameter)
        state["step"] += 1
        step = state["step"]
        random = torch.Generator(parameter.device)
        # Modulo: a date as a seed is large, and PyTorch takes 63 bits.
        random.manual_seed(((self._seed * 1_000_003 + step) * 1_000_003 + place) % 2**63)
        b1, b2 = group["betas"]
        rate, decay = group["lr"], group["weight_decay"]
        flat = [t.view(-1) for t in (parameter, gradient, state["m"], state["v"])]
        for start in range(0, parameter.numel(), _CHUNK):
            weight, grad, first, second = (t[start : start + _CHUNK] for t in flat)
            g = grad.float()
            m = first.float().lerp_(g, 1 - b1)
            v = second.float().mul_(b2).addcmul_(g, g, value=1 - b2)
            spread = (v / (1 - b2**step)).sqrt_().add_(group["eps"])
            w = weight.float().mul_(1 - rate * decay)
            w.addcdiv_(m, spread, value=-rate / (1 - b1**step))
            for kept, exact in ((weight, w), (first, m), (second, v)):
                kept.copy_(stochastic_round(exact, random))


def stochastic_round(exact: Tensor, random: torch.Generator) -> Tensor:
    """Round float32 to bfloat16, up with the probability of what is cut off.

    A bfloat16 is the upper half of a float32: adding a random lower half carries over just that
    often. Infinities and NaN stay what they are.
    """
    bits = exact.view(torch.int32)
    noise = torch.randint(
        0, 2**16, bits.shape, dtype=torch.int32, device=exact.device, generator=random
    )
    rounded = (bits + noise).bitwise_and_(-(2**16)).view(torch.float32)
    return torch.where(torch.isfinite(exact), rounded, exact).to(torch.bfloat16)
