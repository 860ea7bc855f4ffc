"""One process: AdamW by hand and against torch, clipping, refusals, resuming."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from tests.unit.tiny_models import tiny_model
from torch import Tensor, nn
from transformers import PreTrainedModel

from atlas.parallel.engine.plain import PlainEngine


class Line(nn.Module):
    """y = w x + b, with w a matrix of one number, so that only w is decayed."""

    def __init__(self, w: float = 2.0, b: float = 1.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([[w]], dtype=torch.float64))
        self.b = nn.Parameter(torch.tensor([b], dtype=torch.float64))

    def loss(self, slope_w: float, slope_b: float) -> Tensor:
        """A loss whose gradients are the two slopes."""
        return slope_w * self.w.sum() + slope_b * self.b.sum()

    def values(self) -> list[float]:
        return [self.w.item(), self.b.item()]


def make_engine(model: nn.Module, **changes: Any) -> PlainEngine:
    options: dict[str, Any] = {
        "learning_rate": 0.1,
        "total_steps": 10,
        "scheduler": "constant",
        "warmup_ratio": 0.0,
        "weight_decay": 0.5,
        "max_grad_norm": 100.0,
    }
    return PlainEngine(cast(PreTrainedModel, model), **options | changes)


def test_the_first_step_by_hand() -> None:
    """The first step of Adam is the rate times the gradient's sign; w decays by 0.1 * 0.5 first."""
    line = Line()
    engine = make_engine(line)
    engine.backward(line.loss(3.0, -4.0))
    info = engine.step()
    assert line.values() == pytest.approx([2.0 * 0.95 - 0.1, 1.0 + 0.1])
    assert (info.grad_norm, info.learning_rate) == (pytest.approx(5.0), 0.1)


def test_the_second_step_by_hand() -> None:
    """Gradients 3 and 1 at betas 0.5 and 0.75, on b, which isn't decayed:

    m = 0.5 * (0.5 * 3) + 0.5 * 1 = 1.25, / (1 - 0.25) = 5/3
    v = 0.75 * (0.25 * 9) + 0.25 * 1 = 1.9375, / (1 - 0.5625) = 31/7
    """
    line = Line()
    engine = make_engine(line, betas=(0.5, 0.75))
    for slope in (3.0, 1.0):
        engine.backward(line.loss(0.0, slope))
        engine.step()
    assert line.b.item() == pytest.approx(1.0 - 0.1 - 0.1 * (5 / 3) / math.sqrt(31 / 7), rel=1e-7)


def test_micro_batches_add_up_and_are_forgotten_after_the_step() -> None:
    line = Line()
    engine = make_engine(line)
    for slope in (1.0, 2.0):
        engine.backward(line.loss(slope, 0.0))
    assert engine.step().grad_norm == pytest.approx(3.0)
    engine.backward(line.loss(0.0, 7.0))
    assert engine.step().grad_norm == pytest.approx(7.0)


def test_a_language_model_is_trained_as_by_torch_itself() -> None:
    model, reference = tiny_model(), tiny_model()
    engine = PlainEngine(
        model, learning_rate=0.01, total_steps=6, scheduler="linear", warmup_ratio=0.34
    )
    norms = ["norm" in name for name, _ in reference.named_parameters()]
    parameters = list(reference.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p, is_norm in zip(parameters, norms, strict=True) if not is_norm]},
            {
                "params": [p for p, is_norm in zip(parameters, norms, strict=True) if is_norm],
                "weight_decay": 0.0,
            },
        ],
        weight_decay=0.01,
        fused=False,
    )
    assert any(norms)
    rates = []
    for factor in (1 / 3, 2 / 3, 1, 3 / 4, 2 / 4):
        engine.backward(language_loss(model))
        rates.append(engine.step().learning_rate)
        language_loss(reference).backward()
        nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * factor
        optimizer.step()
        optimizer.zero_grad()
    assert rates == pytest.approx([0.01 * f for f in (1 / 3, 2 / 3, 1, 3 / 4, 2 / 4)])
    for found, wanted in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def language_loss(model: PreTrainedModel) -> Tensor:
    ids = torch.tensor([[5, 6, 7, 8, 9], [9, 4, 7, 2, 1]])
    loss = model(input_ids=ids, labels=ids).loss
    assert loss is not None
    return loss


@pytest.mark.parametrize(("limit", "scale"), [(1.0, 0.2), (5.0, 1.0), (10.0, 1.0)])
def test_long_gradients_are_scaled_down(limit: float, scale: float) -> None:
    line = Line()
    engine = make_engine(line, max_grad_norm=limit)
    engine.backward(line.loss(3.0, 4.0))
    info = engine.step()
    assert info.grad_norm == pytest.approx(5.0)
    moments = engine.state()["optimizer"]["state"]
    assert moments[0]["exp_avg"].item() == pytest.approx(0.1 * 3.0 * scale)
    assert moments[1]["exp_avg"].item() == pytest.approx(0.1 * 4.0 * scale)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_gradients_that_are_not_finite_change_nothing(bad: float) -> None:
    line = Line()
    engine = make_engine(line)
    engine.backward(line.loss(1.0, 1.0))
    engine.step()
    before = line.values()
    engine.backward(line.loss(1.0, bad))
    assert not math.isfinite(engine.step().grad_norm)
    assert line.values() == before
    # It is a step of the schedule, and of nothing else: the moments stand where they stood.
    state = engine.state()
    assert state["schedule"]["last_epoch"] == 2
    assert all(moments["step"] == 1 for moments in state["optimizer"]["state"].values())
    engine.backward(line.loss(1.0, 1.0))
    engine.step()
    assert all(map(math.isfinite, line.values()))


def test_frozen_parameters_stay() -> None:
    line = Line()
    line.w.requires_grad_(False)
    engine = make_engine(line)
    engine.backward(line.loss(3.0, 4.0))
    assert engine.step().grad_norm == pytest.approx(4.0)
    assert line.w.item() == 2.0


def test_a_run_that_is_resumed_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    """Through the file that a checkpoint is, which is read without running code."""

    def train(engine: PlainEngine, num_steps: int) -> list[float]:
        losses = []
        for _ in range(num_steps):
            loss = language_loss(engine.model)
            engine.backward(loss)
            engine.step()
            losses.append(loss.item())
        return losses

    options: dict[str, Any] = {"learning_rate": 0.01, "total_steps": 8}
    whole = PlainEngine(tiny_model(), **options)
    wanted = train(whole, 8)

    first = PlainEngine(tiny_model(), **options)
    assert train(first, 4) == wanted[:4]
    torch.save(first.state(), tmp_path / "state.pt")
    model = tiny_model(seed=9)
    model.load_state_dict(first.model.state_dict())
    second = PlainEngine(model, **options)
    second.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert train(second, 4) == wanted[4:]
    for found, expected in zip(model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(found, expected)
