"""What the five loss types consist of: a surrogate, a reduction and a denominator.

    loss_type   ratio a     clipped          reduction            denominator of the step
    grpo        token       objective        mean of each row     rows
    dapo        token       objective        sum over tokens      valid tokens
    dr_grpo     token       objective        sum over tokens      rows x max_completion_length
    gspo        sequence    objective        mean of each row     rows
    cispo       token       weight           sum over tokens      valid tokens

Sources: grpo, arXiv 2402.03300; dapo, 2503.14476; dr_grpo, 2503.20783; gspo, 2507.18071; cispo,
2506.13585. Dr. GRPO also leaves the standard deviation out of the advantages: scale ``none``.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal, get_args

from torch import Tensor

from atlas.objectives.cispo import cispo_surrogate
from atlas.objectives.gspo import sequence_surrogate
from atlas.objectives.importance import ImportanceLevel
from atlas.objectives.kl import KlEstimator
from atlas.objectives.reduction import StepCounts, row_mean_sum, token_sum
from atlas.objectives.surrogate import SurrogateInputs, SurrogateTerms, token_surrogate

LossType = Literal["grpo", "dapo", "dr_grpo", "gspo", "cispo"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LossSettings:
    """The numbers of the loss, fixed for a run."""

    loss_type: LossType
    """Which of the five."""
    beta: float = 0.04
    """Weight of the KL to the reference; 0 leaves it out of the loss."""
    epsilon_low: float = 0.2
    """Ratios are clipped at 1 minus this."""
    epsilon_high: float = 0.2
    """Ratios are clipped at 1 plus this."""
    importance_cap: float = 2.0
    """Largest importance weight between trainer and rollout engine."""
    importance_level: ImportanceLevel = "token"
    """One importance weight a token, or one a row."""
    kl_estimator: KlEstimator = "k3"
    """Of the loss, and of the logged KL."""
    max_completion_length: int | None = None
    """In tokens; needed by ``dr_grpo`` only."""

    @classmethod
    def of(cls, config: Any) -> LossSettings:
        """Return the settings of a job's configuration, whose keys have the same names."""
        given = {f.name: getattr(config, f.name) for f in fields(cls) if hasattr(config, f.name)}
        return cls(**given, max_completion_length=config.max_new_tokens)

    def __post_init__(self) -> None:
        """Refuse values that name nothing or make no sense."""
        _refuse_unknown("loss_type", self.loss_type, get_args(LossType))
        _refuse_unknown("kl_estimator", self.kl_estimator, get_args(KlEstimator))
        _refuse_unknown("importance_level", self.importance_level, get_args(ImportanceLevel))
        for name in ("beta", "epsilon_low", "epsilon_high"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if self.importance_cap <= 0:
            raise ValueError(f"importance_cap is {self.importance_cap}; it must be positive")
        if self.loss_type == "dr_grpo" and not self.max_completion_length:
            raise ValueError("loss_type dr_grpo divides by max_completion_length; it is not set")


@dataclass(frozen=True, kw_only=True, slots=True)
class LossVariant:
    """The parts of one loss type."""

    surrogate: Callable[[SurrogateInputs, float, float], SurrogateTerms]
    reduce: Callable[[Tensor, Tensor, float], Tensor]
    denominator: Callable[[StepCounts, LossSettings], float]


def _refuse_unknown(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{key} is {value!r}; it must be one of {', '.join(known)}")


def _rows(counts: StepCounts, settings: LossSettings) -> float:
    return counts.num_sequences


def _tokens(counts: StepCounts, settings: LossSettings) -> float:
    return counts.num_tokens


def _places(counts: StepCounts, settings: LossSettings) -> float:
    assert settings.max_completion_length is not None  # LossSettings refuses it
    return counts.num_sequences * settings.max_completion_length


LOSS_VARIANTS: Mapping[LossType, LossVariant] = MappingProxyType(
    {
        "grpo": LossVariant(surrogate=token_surrogate, reduce=row_mean_sum, denominator=_rows),
        "dapo": LossVariant(surrogate=token_surrogate, reduce=token_sum, denominator=_tokens),
        "dr_grpo": LossVariant(surrogate=token_surrogate, reduce=token_sum, denominator=_places),
        "gspo": LossVariant(surrogate=sequence_surrogate, reduce=row_mean_sum, denominator=_rows),
        "cispo": LossVariant(surrogate=cispo_surrogate, reduce=token_sum, denominator=_tokens),
    }
)
"""The parts by name."""


def denominator(counts: StepCounts, settings: LossSettings) -> float:
    """Return what the loss of a step is divided by.

    Args:
        counts: Of the whole optimiser step, over all micro-batches and ranks.
        settings: Names the loss type.

    Returns:
        Rows, tokens, or rows times the maximal length; 1 for a step without a valid token.
    """
    return max(LOSS_VARIANTS[settings.loss_type].denominator(counts, settings), 1)
