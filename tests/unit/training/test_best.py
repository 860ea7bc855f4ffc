"""The model of the lowest loss is kept, over an interruption too."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from atlas.models.checkpoints import load_model, save_model
from atlas.training.best import BestModel, Measured


@pytest.fixture
def kept(tmp_path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> BestModel:
    """What a new run keeps of the model."""
    return BestModel(
        tmp_path,
        resumed=False,
        save=lambda folder, extra: save_model(folder, model, tokenizer, extra=extra),
    )


def set_weights(model: LlamaForCausalLM, value: float) -> None:
    """Make a model that is told from others by one number."""
    with torch.no_grad():
        model.model.norm.weight.fill_(value)


def test_the_lowest_loss_is_kept_over_an_interruption(
    tmp_path: Path, kept: BestModel, model: LlamaForCausalLM
) -> None:
    taken = []
    for step, loss in ((10, 2.0), (20, 1.5), (30, 1.5), (40, math.nan), (50, 1.9)):
        set_weights(model, step)
        taken.append(kept.offer(step, loss))
    assert taken == [True, True, False, False, False]
    assert kept.best == Measured(step=20, eval_loss=1.5)

    later = BestModel(tmp_path, resumed=True, save=lambda folder, extra: None)
    assert later.best == kept.best
    assert not later.offer(60, 1.6)
    assert load_model(later.folder).state_dict()["model.norm.weight"].unique() == 20


def test_a_run_that_starts_anew_forgets_what_was_kept(tmp_path: Path, kept: BestModel) -> None:
    kept.offer(10, 0.1)
    assert BestModel(tmp_path, resumed=False, save=lambda folder, extra: None).best is None
    assert not kept.folder.exists()


def test_a_damaged_model_is_not_the_best(tmp_path: Path, kept: BestModel) -> None:
    kept.offer(10, 0.1)
    (kept.folder / "model.safetensors").write_bytes(b"cut")
    assert BestModel(tmp_path, resumed=True, save=lambda folder, extra: None).best is None
