"""A whole step small enough for float64: a model, its samples, an engine that only adds up.

The step has four groups of three; prompts and completions are of several lengths, the rollout
engine was off by a little, the second group is dead and one member of the last one abstained.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from tests.unit.tiny_models import rows_of, tiny_model
from torch import Tensor
from transformers import PreTrainedModel

from atlas.models.passes.forward import logprobs
from atlas.objectives.loss_types import LossSettings, LossType
from atlas.parallel.engine.protocol import StepInfo
from atlas.types import Tokens

T = TypeVar("T")

PAD, END = 0, 1
MAX_LENGTH = 6
TEMPERATURE = 0.8
PROMPTS = [(5, 6, 7), (8, 9, 10, 11, 12, 13, 14), (15,), (16, 17, 18, 19)]
COMPLETIONS = [
    *[(20, 21, END), (22, END), (23, 24, 25, 26, END)],
    *[(37, 38, END), (39, 20, 21, END), (22, END)],
    *[(27, END), (28, 29, 30, 31, 32, 33), (34, 35, 36, END)],
    *[(23, 24, END), (25, 26, 27, 28, END), (END,)],
]
ADVANTAGES = [1.0, -0.5, -0.5, None, None, None, 2.0, -1.25, -0.75, 0.5, -0.5, None]
G = len(COMPLETIONS) // len(PROMPTS)


class HoldingEngine:
    """An engine that adds up gradients and never steps."""

    world_size = 1

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = self.trained = model

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def forward(self, compute: Callable[[PreTrainedModel], T], *, last: bool = True) -> T:
        """Compute on the model."""
        return compute(self.model)

    def refresh(self) -> None:
        """Do nothing: the model is the one."""

    def backward(self, loss: Tensor) -> None:
        """Add a share's gradients."""
        loss.backward()

    def step(self) -> StepInfo:
        """Leave everything as it is."""
        return StepInfo(grad_norm=0.0, learning_rate=0.0)

    def state(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take nothing up."""


def gradients_of(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return a copy of every parameter's gradient; 0 where there is none."""
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }


def policy_and_reference(kind: str = "llama") -> tuple[PreTrainedModel, PreTrainedModel]:
    """Return two models whose weights differ a little, in float64."""
    policy = tiny_model(kind, torch.float64)
    reference = copy.deepcopy(policy).requires_grad_(False)
    random = torch.Generator().manual_seed(5)
    for weight in reference.parameters():
        weight += 0.01 * torch.randn(weight.shape, generator=random, dtype=torch.float64)
    return policy, reference


def samples_of(model: PreTrainedModel) -> list[Tokens]:
    """Return the step's samples, members of a group side by side."""
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        rows = rows_of(PROMPTS, COMPLETIONS)
        exact_BT = logprobs(model, rows, temperature=TEMPERATURE).logprobs_BT
    noise_BT = torch.randn(exact_BT.shape, generator=random, dtype=torch.float64)
    rollout_BT = (exact_BT + 0.3 * noise_BT).float()  # engines report float32
    return [
        Tokens.of(
            PROMPTS[row // G],
            ids,
            logprobs=rollout_BT[row, : len(ids)].tolist(),
            advantage=ADVANTAGES[row],
        )
        for row, ids in enumerate(COMPLETIONS)
    ]


def loss_settings(loss_type: LossType) -> LossSettings:
    """Return the settings of the step's loss."""
    return LossSettings(
        loss_type=loss_type, beta=0.04, importance_cap=1.2, max_completion_length=MAX_LENGTH
    )


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Compare gradients, relative to the largest number of each."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert tensor.abs().max() > 0, f"nothing to compare at {name}"
        error = (found[name] - tensor).abs().max() / tensor.abs().max()
        assert error < tolerance, f"{name}: {error:.1e}"


def rows_alone(model: PreTrainedModel, samples: Sequence[Tokens]) -> list[Tensor]:
    """Return the log-probabilities of what each sample learns, each from a pass of its own."""
    found = []
    net: Any = model
    for sample in samples:
        logprobs_NV = (net(torch.tensor([sample.ids])).logits[0] / TEMPERATURE).log_softmax(-1)
        found.append(torch.stack([logprobs_NV[i - 1, sample.ids[i]] for i in places_of(sample)]))
    return found


def places_of(sample: Tokens) -> list[int]:
    """Return where the tokens stand that are learned."""
    return [place for stretch in sample.trained for place in range(*stretch)]
