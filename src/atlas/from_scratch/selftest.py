"""Does the training compute on this machine what it says? Checks with known answers, in seconds.

Input: nothing. Output: a `CheckResult` a check: how far the result is from what it must be. The
answers are worked out by hand, in plain Python, or in a slower way that shares no code with the
fast one.
Everything runs in this process, on this processor and, where there is one, on its GPU, with the
packages that are installed; nothing is read and nothing written.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from atlas.from_scratch.training.batches import ranked_group
from atlas.from_scratch.training.group_steps import Precision, backward, ranked_objective
from atlas.from_scratch.training.ranking import ranking_figures
from atlas.models.passes.forward import logprobs
from atlas.models.passes.upcasting import compute_in_float32
from atlas.objectives.advantages import group_advantages
from atlas.objectives.kl import kl_k3
from atlas.objectives.logprobs import selected_logprobs
from atlas.objectives.ranked import ranked_loss, scores_from_ranks
from atlas.objectives.surrogate import SurrogateInputs, token_surrogate
from atlas.parallel.engine.plain import PlainEngine
from atlas.parallel.engine.stochastic_adamw import stochastic_round
from atlas.types import Tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that must hold."""

    what: str
    error: Callable[[], float]
    """How far it is from holding; NaN fails."""
    tolerance: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """How a check went."""

    what: str
    error: float
    tolerance: float
    seconds: float
    failure: str = ""
    """What was raised, in one line; empty where nothing was."""

    @property
    def holds(self) -> bool:
        """The error is within the tolerance."""
        return not self.failure and self.error <= self.tolerance


def run_checks() -> Iterator[CheckResult]:
    """Yield the results one by one."""
    checks = [*CHECKS, *(_ON_GPU if torch.cuda.is_available() else ())]
    for check in checks:
        started, error, failure = time.monotonic(), math.nan, ""
        try:
            error = check.error()
        except Exception as raised:
            failure = f"{type(raised).__name__}: {raised}".splitlines()[0]
        yield CheckResult(
            what=check.what,
            error=error,
            tolerance=check.tolerance,
            seconds=time.monotonic() - started,
            failure=failure,
        )


def the_guide_s_formula() -> float:
    """softmax(rankings * temperature), -(log_probs * preferences).sum() + 0.5 * pairwise."""
    log_probs, rankings, temperature = [-1.2, -0.4, -2.0, -0.9], [4.0, 1.0, 3.0, 2.0], 0.7
    powers = [math.exp(rank * temperature) for rank in rankings]
    preferences = [power / sum(powers) for power in powers]
    preference_loss = -sum(x * p for x, p in zip(log_probs, preferences, strict=True))
    pairs = [
        math.log(1 + math.exp(log_probs[j] - log_probs[i]))
        for i in range(4)
        for j in range(4)
        if rankings[i] > rankings[j]
    ]
    expected = preference_loss + 0.5 * sum(pairs) / len(pairs)
    return abs(_ranked(log_probs, rankings, sharpness=temperature)[0] - expected)


def rank_one_is_the_best() -> float:
    """Descending the loss must raise responses the more, the better their rank."""
    scores = scores_from_ranks(torch.tensor([[2, 1, 4, 3]]))[0].tolist()
    _, grad = _ranked([-1.0] * 4, scores)
    rise = [-grad[place] for place in (1, 0, 3, 2)]
    return 0.0 if rise == sorted(rise, reverse=True) else 1.0


def ties_and_order() -> float:
    """Ties pull no pair apart; the reversed order pulls the other way."""
    _, tied = _ranked([-1.0, -2.0], [1.0, 1.0], preference_weight=0.0)
    _, there = _ranked([-1.0, -1.5, -2.0], [3.0, 2.0, 1.0], preference_weight=0.0)
    _, back = _ranked([-2.0, -1.5, -1.0], [1.0, 2.0, 3.0], preference_weight=0.0)
    return max(map(abs, [*tied, *(a - b for a, b in zip(there, back[::-1], strict=True))]))


def gradients_of_the_ranked_loss() -> float:
    """Differences of the loss against its gradient, with a missing response that holds NaN."""
    scores_PK = _double([[1.0, 2.0, 2.0], [0.5, math.nan, -1.0]])
    mask_PK = ~scores_PK.isnan()
    start_PK = _double([[-1.0, -0.2, -3.0], [-0.7, math.nan, -0.9]])

    def loss(logprobs_PK: Tensor) -> Tensor:
        return ranked_loss(logprobs_PK, scores_PK, mask_PK, 2, sharpness=0.8).loss

    return _gradient_error(loss, start_PK, mask_PK)


def advantages_by_hand() -> float:
    """Rewards 1, 0, 0, 1: mean 1/2, deviation sqrt(1/3), so 0.5 / (0.57735 + 0.0001)."""
    rewards_PG = _double([[1.0, 0.0, 0.0, 1.0], [2.0, 2.0, 2.0, 2.0]])
    found = group_advantages(rewards_PG, torch.ones_like(rewards_PG, dtype=torch.bool))
    one = 0.5 / (math.sqrt(1 / 3) + 1e-4)
    expected_PG = _double([[one, -one, -one, one], [0.0] * 4])
    return float((found.advantages_PG - expected_PG).abs().max()) + float(found.num_dead != 1)


def surrogate_by_hand() -> float:
    """Ratios 1.5 and 0.5 at clips of 0.2: min(rho A, clip(rho) A) for A = 1 and A = -1."""
    policy_BT = _double([[1.5, 0.5], [1.5, 0.5]]).log().requires_grad_()
    terms = token_surrogate(
        SurrogateInputs(
            policy_logprobs_BT=policy_BT,
            old_logprobs_BT=torch.zeros(2, 2).double(),
            advantages_BT=_double([[1.0], [-1.0]]),
            mask_BT=torch.ones(2, 2, dtype=torch.bool),
        ),
        0.2,
        0.2,
    )
    (grad_BT,) = torch.autograd.grad(terms.loss_BT.sum(), policy_BT)
    expected_BT = -_double([[1.2, 0.5], [-1.5, -0.8]])
    slopes_BT = _double([[0.0, -0.5], [1.5, 0.0]])  # where it is clipped, none
    return _largest((terms.loss_BT.detach(), grad_BT), (expected_BT, slopes_BT))


def kl_by_hand() -> float:
    """Twice as likely under the reference: exp(ln 2) - ln 2 - 1; equal: 0."""
    found = kl_k3(_double([-math.log(2), -1.0]), _double([0.0, -1.0]))
    return float((found - _double([1 - math.log(2), 0.0])).abs().max())


def projection_in_chunks() -> float:
    """Log-probabilities and both gradients, against whole logits."""
    random = torch.Generator().manual_seed(0)
    hidden_ND, head_VD = (torch.randn(n, 8, generator=random).double() for n in (13, 37))
    targets_N = torch.randint(37, (13,), generator=random)
    weights_N = torch.randn(13, generator=random).double()
    found = []
    for in_chunks in (True, False):
        hidden, head = (x.clone().requires_grad_() for x in (hidden_ND, head_VD))
        if in_chunks:
            logprobs_N = selected_logprobs(hidden, head, targets_N, chunk_tokens=4).logprobs_N
        else:
            logprobs_N = (hidden @ head.T).log_softmax(-1)[torch.arange(13), targets_N]
        grads = torch.autograd.grad((logprobs_N * weights_N).sum(), (hidden, head))
        found.append((logprobs_N, *grads))
    return _largest(*found)


def a_shared_prompt_is_exact() -> float:
    """Every response on one forward of its prompt, against one with its own; all gradients.

    In float64, but for the norms, which `transformers` computes in float32.
    """
    return _difference(logprobs, partial(logprobs, share=False), _model(torch.float64))


def narrow_weights_compute_wide() -> float:
    """Weights in bfloat16 under float32 passes, against a float32 model with the same numbers."""
    narrow = _model(torch.bfloat16)
    exact = copy.deepcopy(narrow).float()
    with torch.no_grad():
        made, expected = (
            logprobs(model, _rows()).logprobs_BT for model in (compute_in_float32(narrow), exact)
        )
    return float((made - expected).abs().max())


def rounding_is_right_on_average() -> float:
    """A change of a quarter of a bfloat16 step is kept in a quarter of the cases."""
    exact = torch.full((100_000,), 1 + 2**-9)
    return abs(
        float(stochastic_round(exact, torch.Generator().manual_seed(0)).float().mean())
        - exact[0].item()
    )


def it_learns_an_order() -> float:
    """Twenty steps of the ranked stage on three prompts put every pair in order."""
    model = _model(torch.float32)
    examples = [
        ranked_group(
            (3, 4 + p),
            ((9 + p, 1), (12, 12 - p, 1), (14, 1)),
            (float(p), 2.0 * p - 1.0, 0.5),
        )
        for p in range(3)
    ]
    engine = PlainEngine(model, learning_rate=1e-2, total_steps=20, scheduler="constant")
    objective = ranked_objective(
        sharpness=1.0, preference_weight=1.0, pairwise_weight=0.5, reduction="mean"
    )
    precision = Precision(autocast=False, max_tokens=512)
    for _ in range(20):
        backward(engine, examples, objective, precision)
        engine.step()
    return 1 - ranking_figures(model, examples, precision).accuracy


def the_gpu_agrees() -> float:
    """Log-probabilities on the GPU against those on the processor."""
    on_cpu = _model(torch.float32)
    moved: Any = copy.deepcopy(on_cpu).to
    with torch.no_grad():
        there = logprobs(moved("cuda"), _rows()).logprobs_BT
        here = logprobs(on_cpu, _rows()).logprobs_BT
    return float((there.cpu() - here).abs().max())


CHECKS: tuple[Check, ...] = (
    Check(what="the guide's formula", error=the_guide_s_formula, tolerance=1e-6),
    Check(what="rank 1 is the best", error=rank_one_is_the_best, tolerance=0),
    Check(what="ties and reversed order", error=ties_and_order, tolerance=1e-12),
    Check(what="gradient of the ranked loss", error=gradients_of_the_ranked_loss, tolerance=1e-6),
    Check(what="GRPO: advantages", error=advantages_by_hand, tolerance=1e-12),
    Check(what="GRPO: clipped surrogate", error=surrogate_by_hand, tolerance=1e-12),
    Check(what="GRPO: KL to the reference", error=kl_by_hand, tolerance=1e-12),
    Check(what="projection in chunks", error=projection_in_chunks, tolerance=1e-9),
    Check(what="a shared prompt is exact", error=a_shared_prompt_is_exact, tolerance=1e-5),
    Check(
        what="bfloat16 weights, float32 passes", error=narrow_weights_compute_wide, tolerance=1e-4
    ),
    Check(what="stochastic rounding", error=rounding_is_right_on_average, tolerance=2e-4),
    Check(what="the ranked stage learns an order", error=it_learns_an_order, tolerance=0),
)
_ON_GPU = (Check(what="the GPU agrees", error=the_gpu_agrees, tolerance=1e-2),)


def _ranked(
    logprobs: list[float], scores: list[float], **weights: float
) -> tuple[float, list[float]]:
    """Return the ranked loss of one prompt and its gradient."""
    logprobs_PK = torch.tensor([logprobs], dtype=torch.float64, requires_grad=True)
    scores_PK = torch.tensor([scores], dtype=torch.float64)
    mask_PK = torch.ones_like(scores_PK, dtype=torch.bool)
    loss = ranked_loss(logprobs_PK, scores_PK, mask_PK, 1, **weights).loss
    (grad_PK,) = torch.autograd.grad(loss, logprobs_PK)
    return loss.item(), grad_PK[0].tolist()


def _gradient_error(loss: Callable[[Tensor], Tensor], start: Tensor, mask: Tensor) -> float:
    """Return the largest distance of a gradient from central differences of step 1e-6."""
    leaf = start.clone().requires_grad_()
    (grad,) = torch.autograd.grad(loss(leaf), leaf)
    worst = float(grad[~mask].abs().sum())
    for place in mask.nonzero():
        up, down = start.clone(), start.clone()
        up[tuple(place)] += 1e-6
        down[tuple(place)] -= 1e-6
        slope = (loss(up) - loss(down)) / 2e-6
        worst = max(worst, float((slope - grad[tuple(place)]).abs()))
    return worst


def _difference(fast: Any, slow: Any, model: LlamaForCausalLM) -> float:
    """Return how far two ways to the log-probabilities are apart, gradients included."""
    found = []
    for way in (fast, slow):
        logprobs_BT = way(model, _rows()).logprobs_BT
        weights_BT = torch.linspace(-1, 1, logprobs_BT.numel()).view_as(logprobs_BT)
        loss = (logprobs_BT * weights_BT).sum()
        found.append((logprobs_BT, *torch.autograd.grad(loss, list(model.parameters()))))
    return _largest(*found)


def _double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _largest(some: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> float:
    return max(float((a - b).detach().abs().max()) for a, b in zip(some, others, strict=True))


def _model(dtype: torch.dtype) -> LlamaForCausalLM:
    """Return a small random model, equal every time; its weights are large, so that all matters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=16,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=0,
        )
        return LlamaForCausalLM._from_config(config, dtype=dtype).eval()  # pyright: ignore[reportReturnType]


def _rows() -> list[Tokens]:
    one, other = (3, 4, 5, 6), (7, 8)
    pairs = [(one, (9, 10, 1)), (one, (11, 1)), (other, (12, 13, 14, 1)), (other, (9, 1))]
    return [Tokens.of(*pair) for pair in pairs]
