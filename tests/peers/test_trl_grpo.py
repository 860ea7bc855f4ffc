"""Our GRPO loss equals TRL's: the loss and every parameter's gradient, for each loss type.

Both get the same model (float64), prompts of several lengths, completions of several lengths of
which one was cut, and rewards in which one group is dead. TRL prepares its inputs itself. Where
the two differ on purpose, the last section shows both ways.

Shapes: P prompts, G members, B = P * G rows, T tokens.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.numerics.step_parts import HoldingEngine, gradients_of
from tests.peers.trl_oracle import (
    MAX_LENGTH,
    Oracle,
    Step,
    Verdict,
    disturb,
    load_tiny,
    save_tiny,
)
from tests.unit.tiny_models import rows_of
from torch import Tensor

from atlas.models.passes.forward import TokenLogprobs, logprobs
from atlas.models.passes.padded import trained_mask
from atlas.objectives.advantages import AdvantageScale, group_advantages
from atlas.objectives.loss import LossInputs, grpo_loss
from atlas.objectives.loss_types import LossSettings, LossType
from atlas.objectives.reduction import StepCounts, count
from atlas.training.samples import train_samples
from atlas.training.update import UpdateSettings, update
from atlas.types import Completion, Episode, Score, Task

TOLERANCE = 1e-5
END = 1
STEP = Step(
    prompts=[(5, 6, 7), (8, 9, 10, 11, 12, 13, 14), (15,), (16, 17, 18, 19)],
    completions=[
        *[(20, 21, END), (22, END), (23, 24, 25, 26, END)],
        *[(27, END), (28, 29, 30, 31, 32, 33), (34, 35, 36, END)],  # the second one was cut
        *[(37, 38, END), (39, 20, 21, END), (22, END)],
        *[(23, 24, END), (25, 26, 27, 28, END), (END,)],
    ],
    rewards=[0.0, 1.0, 0.25, 2.0, -1.0, 0.5, 0.75, 0.75, 0.75, 1.0, 0.0, 0.0],
)
G, NUM_ROWS = STEP.group_size, len(STEP.completions)
DEAD = 2
LIVE = [0, 1, 3]
EPSILONS = {"epsilon": 0.2, "epsilon_high": 0.28}
PLAIN_KL = {"beta": 0.04, "use_bias_correction_kl": False}
# What TRL calls our loss types.
TRL_SETTINGS: dict[LossType, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo", **EPSILONS},
    "dapo": {"loss_type": "dapo", **EPSILONS},
    "dr_grpo": {"loss_type": "dr_grpo", **EPSILONS},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence", **EPSILONS},
    "cispo": {"loss_type": "cispo", "epsilon": 0.2, "epsilon_high": 1.28},  # the bound itself
}
LOSS_TYPES = list(TRL_SETTINGS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama")
    save_tiny(path, "llama")
    return path


def settings_of(loss_type: LossType, **changes: Any) -> LossSettings:
    return LossSettings(
        loss_type=loss_type,
        **{
            "epsilon_low": 0.2,
            "epsilon_high": 0.28,
            "max_completion_length": MAX_LENGTH,
            "beta": 0.0,
            **changes,
        },
    )


def old_noise(step: Step = STEP) -> Tensor:
    """How far the policy that sampled is from the policy, at each token: clips bind both ways."""
    longest = max(map(len, step.completions))
    random = torch.Generator().manual_seed(12)
    noise_BT = 0.5 * torch.randn(NUM_ROWS, MAX_LENGTH, generator=random, dtype=torch.float64)
    return noise_BT[: len(step.completions), :longest]


def trl(
    folder: Path, step: Step, *, noise_BT: Tensor | None = None, **settings: Any
) -> tuple[Verdict, dict[str, Any]]:
    """Return TRL's verdict and its inputs; with noise, off policy."""
    oracle = Oracle(folder, step, **settings)
    inputs = oracle.inputs()
    if noise_BT is not None:
        inputs["old_per_token_logps"] = logprobs_of(load_tiny(folder), step).detach() + noise_BT
    return oracle.judge(inputs), inputs


def logprobs_of(model: Any, step: Step, temperature: float = 1.0) -> Tensor:
    """Our log-probabilities [B, T], each group's prompt computed once."""
    return says(model, step, temperature=temperature).logprobs_BT


def mask_of(step: Step) -> Tensor:
    return trained_mask(rows_of(step.prompts, step.completions), torch.device("cpu"))


def says(model: Any, step: Step, **how: Any) -> TokenLogprobs:
    return logprobs(model, rows_of(step.prompts, step.completions), **how)


def ours(
    folder: Path,
    step: Step,
    settings: LossSettings,
    *,
    noise_BT: Tensor | None = None,
    temperature: float = 1.0,
    scale: AdvantageScale = "group",
    masked_rows: tuple[int, ...] = (),
) -> Verdict:
    """Return our verdict where TRL's rows count: all of them in the denominator."""
    model, reference = load_tiny(folder), load_tiny(folder)
    disturb(reference)
    mask_BT = mask_of(step)
    mask_BT[list(masked_rows)] = False
    policy_BT = logprobs_of(model, step, temperature)
    old_BT = None if noise_BT is None else policy_BT.detach() + noise_BT
    with torch.no_grad():
        ref_BT = logprobs_of(reference, step, temperature)
    outputs = grpo_loss(
        LossInputs(
            policy_logprobs_BT=policy_BT,
            old_logprobs_BT=old_BT,
            ref_logprobs_BT=ref_BT if settings.beta else None,
            advantages_BT=advantages_of(step, scale),
            mask_BT=mask_BT,
            step_counts=replace(count(mask_BT), num_sequences=len(step.completions)),
        ),
        settings,
    )
    outputs.loss.backward()
    return Verdict(loss=outputs.loss.detach(), gradients=gradients_of(model))


def advantages_of(step: Step, scale: AdvantageScale) -> Tensor:
    rewards_PG = torch.tensor(step.rewards, dtype=torch.float64).view(-1, step.group_size)
    scored_PG = torch.ones_like(rewards_PG, dtype=torch.bool)
    return group_advantages(rewards_PG, scored_PG, scale).advantages_PG.view(-1, 1)


def assert_equal(left: Verdict, right: Verdict, *, factor: float = 1.0) -> None:
    """The left one, times a factor, is the right one; relative to the largest of each tensor."""
    loss = left.loss * factor
    assert loss.item() == pytest.approx(right.loss.item(), rel=TOLERANCE, abs=1e-7)
    assert left.gradients.keys() == right.gradients.keys()
    for name, expected in right.gradients.items():
        assert expected.abs().max() > 0, f"nothing to compare at {name}"
        error = (left.gradients[name] * factor - expected).abs().max() / expected.abs().max()
        assert error < TOLERANCE, f"{name}: {error:.1e}"


# ---- the same ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kl", [{"beta": 0.0}, PLAIN_KL], ids=["without KL", "with KL"])
@pytest.mark.parametrize("off_policy", [False, True])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_loss_and_gradients(
    folder: Path, loss_type: LossType, off_policy: bool, kl: dict[str, Any]
) -> None:
    """Left padding, ragged completions, a clip that is not symmetric, a dead group counted."""
    noise_BT = old_noise() if off_policy else None
    expected, _ = trl(folder, STEP, noise_BT=noise_BT, **kl, **TRL_SETTINGS[loss_type])
    settings = settings_of(loss_type, beta=kl["beta"])
    assert_equal(ours(folder, STEP, settings, noise_BT=noise_BT), expected)


def test_the_noise_makes_clips_bind_on_some_tokens_and_not_on_others() -> None:
    """Without which the test above would compare nothing off policy that it doesn't on policy."""
    mask_BT = mask_of(STEP)
    ratio_BT = (-old_noise()).exp()
    advantages_B1 = advantages_of(STEP, "group")
    low_BT = mask_BT & (ratio_BT < 0.8) & (advantages_B1 < 0)
    high_BT = mask_BT & (ratio_BT > 1.28) & (advantages_B1 > 0)
    assert low_BT.sum() >= 3
    assert high_BT.sum() >= 3
    assert (mask_BT & ~low_BT & ~high_BT).sum() >= 10


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_truncated_completions_left_out(folder: Path, loss_type: LossType) -> None:
    cut = [row for row, ids in enumerate(STEP.completions) if ids[-1] != END]
    assert len(cut) == 1
    expected, inputs = trl(
        folder,
        STEP,
        noise_BT=old_noise(),
        mask_truncated_completions=True,
        **PLAIN_KL,
        **TRL_SETTINGS[loss_type],
    )
    assert inputs["completion_mask"].sum(-1).eq(0).nonzero().flatten().tolist() == cut
    found = ours(
        folder,
        STEP,
        settings_of(loss_type, beta=0.04),
        noise_BT=old_noise(),
        masked_rows=tuple(cut),
    )
    assert_equal(found, expected)


@pytest.mark.parametrize("loss_type", ["grpo", "cispo"])
def test_a_temperature_divides_the_logits_on_both_sides(folder: Path, loss_type: LossType) -> None:
    """top_p doesn't matter: neither side cuts the tail off what it trains."""
    expected, _ = trl(
        folder, STEP, temperature=0.7, top_p=0.9, **PLAIN_KL, **TRL_SETTINGS[loss_type]
    )
    found = ours(folder, STEP, settings_of(loss_type, beta=0.04), temperature=0.7)
    assert_equal(found, expected)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages(folder: Path, scale: AdvantageScale) -> None:
    verdict, inputs = trl(folder, STEP, scale_rewards=scale, beta=0.0, **TRL_SETTINGS["dapo"])
    torch.testing.assert_close(
        inputs["advantages"].double(), advantages_of(STEP, scale).squeeze(1), rtol=1e-5, atol=1e-6
    )
    assert_equal(ours(folder, STEP, settings_of("dapo"), scale=scale), verdict)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages_with_an_abstention(folder: Path, scale: AdvantageScale) -> None:
    """TRL's reward function says None; the member leaves mean and deviation on both sides."""
    step = replace(STEP, rewards=[None, *STEP.rewards[1:]])  # pyright: ignore[reportArgumentType]
    inputs = Oracle(folder, step, scale_rewards=scale, beta=0.0).inputs()
    rewards_PG = torch.tensor([math.nan, *STEP.rewards[1:]], dtype=torch.float64).view(-1, G)
    found = group_advantages(rewards_PG, ~rewards_PG.isnan(), scale).advantages_PG.view(-1)
    torch.testing.assert_close(inputs["advantages"].double(), found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("level", "mode"), [("token", "token"), ("sequence", "sequence")])
def test_truncated_importance_weights(folder: Path, level: Any, mode: str) -> None:
    """The engine that sampled is not the trainer: TRL has this for vLLM only."""
    noise_BT = old_noise()
    rollout_BT = logprobs_of(load_tiny(folder), STEP).detach() + noise_BT
    rows = [row[: len(ids)] for row, ids in zip(rollout_BT, STEP.completions, strict=True)]
    oracle = Oracle(
        folder,
        STEP,
        vllm_importance_sampling_mode=f"{mode}_truncate",
        vllm_importance_sampling_clip_max=1.5,
        **PLAIN_KL,
        **TRL_SETTINGS["dapo"],
    )
    oracle.trainer.use_vllm = True
    inputs = oracle.inputs([row.tolist() for row in rows])
    ratio = inputs["importance_sampling_ratio"]
    assert 0 < (ratio == 1.5).sum() < ratio.numel()
    expected = oracle.judge(inputs)

    model, reference = load_tiny(folder), load_tiny(folder)
    disturb(reference)
    mask_BT = mask_of(STEP)
    outputs = grpo_loss(
        LossInputs(
            policy_logprobs_BT=logprobs_of(model, STEP),
            rollout_logprobs_BT=rollout_BT,
            ref_logprobs_BT=logprobs_of(reference, STEP).detach(),
            advantages_BT=advantages_of(STEP, "group"),
            mask_BT=mask_BT,
            step_counts=count(mask_BT),
        ),
        settings_of("dapo", beta=0.04, importance_cap=1.5, importance_level=level),
    )
    outputs.loss.backward()
    found = Verdict(loss=outputs.loss.detach(), gradients=gradients_of(model))
    assert_equal(found, expected)


@pytest.mark.parametrize("kind", ["qwen3", "mistral", "gemma3"])
def test_other_models(tmp_path: Path, kind: str) -> None:
    """Shared prompts and plain forwards alike, windows included."""
    save_tiny(tmp_path, kind)
    expected, _ = trl(tmp_path, STEP, **PLAIN_KL, **TRL_SETTINGS["dapo"])
    assert_equal(ours(tmp_path, STEP, settings_of("dapo", beta=0.04)), expected)
    model = load_tiny(tmp_path)
    plain_BT = says(model, STEP, share=False).logprobs_BT
    torch.testing.assert_close(plain_BT, logprobs_of(model, STEP), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo", "cispo"])
def test_trls_default_kl_has_the_gradient_of_our_k2(folder: Path, loss_type: LossType) -> None:
    """TRL multiplies k3 by the ratio, through which a gradient flows too (DeepSeek-V3.2).

    At ratio 1 the two gradients, 1 - exp(d) and k3 = exp(d) - d - 1, add up to -d, that of k2.
    """
    expected, _ = trl(folder, STEP, beta=0.04, **TRL_SETTINGS[loss_type])
    found = ours(folder, STEP, settings_of(loss_type, beta=0.04, kl_estimator="k2"))
    assert_equal(replace(found, loss=expected.loss), expected)


# ---- the production path, and what differs on purpose ------------------------------------------


def updated(
    folder: Path,
    step: Step,
    settings: LossSettings,
    *,
    temperature: float = 1.0,
    scale: AdvantageScale = "group",
    mask_truncated: bool = False,
    max_tokens: int = 999,
) -> Verdict:
    """Return the verdict of `train_samples` and `update`, what a training step runs."""
    model, reference = load_tiny(folder), load_tiny(folder)
    disturb(reference)
    with torch.no_grad():
        rollout_BT = logprobs_of(model, step, temperature)
    groups = []
    for p, prompt in enumerate(step.prompts):
        episodes = []
        for row in range(p * G, p * G + G):
            ids = step.completions[row]
            completion = Completion(
                prompt_ids=prompt,
                token_ids=ids,
                logprobs=tuple(rollout_BT[row, : len(ids)].tolist()),
                text="",
                finish_reason="stop" if ids[-1] == END else "length",
            )
            score = Score(value=step.rewards[row])
            task = Task(question="", answer="", family="")
            episodes.append(Episode(task=task, turns=(completion,), score=score))
        groups.append(episodes)
    samples, _ = train_samples(groups, scale=scale, mask_truncated=mask_truncated)
    engine = HoldingEngine(model)
    metrics = update(
        engine,
        reference if settings.beta else None,
        samples,
        UpdateSettings(loss=settings, temperature=temperature, max_tokens=max_tokens),
    )
    return Verdict(
        loss=torch.tensor(metrics["train/loss"], dtype=torch.float64),
        gradients=gradients_of(model),
    )


@pytest.mark.parametrize("max_tokens", [999, 1])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_a_training_step_equals_trl_on_the_live_groups(
    folder: Path, loss_type: LossType, max_tokens: int
) -> None:
    """A dead group is out of loss, denominator and KL: as if it had not been sampled.

    With 999 tokens the step is one micro-batch, with 1 every group is one of its own.
    """
    live = STEP.only(LIVE)
    expected, _ = trl(folder, live, temperature=0.8, **PLAIN_KL, **TRL_SETTINGS[loss_type])
    settings = settings_of(loss_type, beta=0.04)
    found = updated(folder, STEP, settings, temperature=0.8, max_tokens=max_tokens)
    assert_equal(found, expected)


def test_a_dead_group_shrinks_trls_loss_and_not_ours(folder: Path) -> None:
    """Rows of the step 12, of live groups 9; tokens 40 and 31 (grpo, dapo)."""
    tokens = sum(map(len, STEP.completions))
    live_tokens = sum(map(len, STEP.only(LIVE).completions))
    for loss_type, factor in (
        ("grpo", len(LIVE) / len(STEP.prompts)),
        ("dapo", live_tokens / tokens),
    ):
        expected, _ = trl(folder, STEP, beta=0.0, **TRL_SETTINGS[loss_type])
        assert_equal(updated(folder, STEP, settings_of(loss_type)), expected, factor=factor)


def test_a_dead_group_is_pulled_to_the_reference_by_trl_and_not_by_us(folder: Path) -> None:
    dead = STEP.only([DEAD])
    pulled, _ = trl(folder, dead, **PLAIN_KL, **TRL_SETTINGS["dapo"])
    assert pulled.loss > 0
    assert max(gradient.abs().max() for gradient in pulled.gradients.values()) > 1e-4
    model = load_tiny(folder)
    mask_BT = torch.zeros_like(mask_of(dead))
    policy_BT = logprobs_of(model, dead)
    loss = grpo_loss(
        LossInputs(
            policy_logprobs_BT=policy_BT,
            ref_logprobs_BT=policy_BT.detach() - 1,
            advantages_BT=advantages_of(dead, "group"),
            mask_BT=mask_BT,
            step_counts=StepCounts(num_tokens=0, num_sequences=0),
        ),
        settings_of("dapo", beta=0.04),
    ).loss
    loss.backward()
    assert loss.item() == 0
    assert not any(gradient.any() for gradient in gradients_of(model).values())


def test_a_truncated_row_shrinks_trls_loss_and_not_ours(folder: Path) -> None:
    """TRL divides by all rows of the batch, we by those that are in the loss (loss type grpo)."""
    live = STEP.only(LIVE)
    expected, _ = trl(
        folder, live, mask_truncated_completions=True, **PLAIN_KL, **TRL_SETTINGS["grpo"]
    )
    found = updated(folder, live, settings_of("grpo", beta=0.04), mask_truncated=True)
    num_rows = len(live.completions)
    assert_equal(found, expected, factor=(num_rows - 1) / num_rows)
