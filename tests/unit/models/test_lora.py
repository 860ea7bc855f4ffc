"""Adapters: what is trained, what is saved, and that merged and apart are the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tests.unit.models.fake_four_bits import FakeFourBits, FourBitLinear
from tests.unit.tiny_models import KINDS, adapted_model, tiny_model
from transformers import AutoModelForCausalLM, PreTrainedModel

from atlas.errors import AtlasError
from atlas.models.checkpoints import load_model
from atlas.models.lora import (
    LoRA,
    adapter_dropout,
    add_adapter,
    load_adapter,
    merged_model,
    merged_weight,
    merged_weights,
    save_adapter,
    trained_share,
    unwrapped,
)

IDS = torch.tensor([[5, 6, 7, 8, 9]])


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_adapter_changes_nothing_and_only_it_is_trained(kind: str) -> None:
    model = add_adapter(tiny_model(kind), LoRA(rank=2, alpha=4, dropout=0.5), seed=0)
    assert torch.equal(logits(model), logits(tiny_model(kind)))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if ".lora_" in name}
    assert trained_share(model) == (
        sum(p.numel() for name, p in model.named_parameters() if name in trained),
        sum(p.numel() for p in model.parameters()),
    )
    assert not model.training


def test_the_seed_decides_its_weights_and_leaves_other_random_numbers_alone() -> None:
    torch.manual_seed(9)
    drawn = torch.rand(3)
    torch.manual_seed(9)
    first, again, other = (
        add_adapter(tiny_model(), LoRA(rank=2, alpha=4), seed=seed).state_dict()
        for seed in (1, 1, 2)
    )
    name = next(name for name in first if "lora_A" in name)
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])
    torch.manual_seed(9)
    model = tiny_model()
    torch.manual_seed(9)
    add_adapter(model, LoRA(rank=2, alpha=4), seed=1)
    assert torch.equal(torch.rand(3), drawn)


@pytest.mark.parametrize("kind", KINDS)
def test_stock_libraries_load_it_merged_and_apart(tmp_path: Path, kind: str) -> None:
    model = adapted_model(kind)
    assert (logits(model) - logits(tiny_model(kind))).abs().max() > 0.1

    merged_model(model).save_pretrained(tmp_path)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(merged), logits(model), rtol=0, atol=2e-5)
    assert type(merged) is type(tiny_model(kind))

    save_adapter(model, tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    apart = PeftModel.from_pretrained(tiny_model(kind), tmp_path / "adapter")
    assert torch.equal(logits(apart), logits(model))  # pyright: ignore[reportArgumentType]
    again = load_adapter(tiny_model(kind), tmp_path / "adapter")
    assert torch.equal(logits(again), logits(model))
    assert [p.requires_grad for p in again.parameters()] == [
        p.requires_grad for p in model.parameters()
    ]
    assert not again.training


def test_merging_leaves_the_model_as_it_is_and_shares_what_no_adapter_changes() -> None:
    model = adapted_model("llama")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = merged_weights(model)
    assert weights.keys() | {"lm_head.weight"} == tiny_model("llama").state_dict().keys()
    embedding = unwrapped(model).get_input_embeddings().weight
    assert weights["model.embed_tokens.weight"].data_ptr() == embedding.data_ptr()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_an_adapter_that_is_switched_off_is_not_merged() -> None:
    model = adapted_model("llama")
    plain = tiny_model("llama").state_dict()
    with model.disable_adapter():  # pyright: ignore[reportCallIssue]
        off = merged_weights(model)
    assert all(torch.equal(tensor, plain[name]) for name, tensor in off.items())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("q_prj",), r"llama has no layers called q_prj; it has down_proj, gate_proj, k_proj"),
        (("q_proj", "vproj"), r"llama has no layers called vproj; it has down_proj"),
        (("q_proj", "mlp"), r"one of q_proj, mlp can get no adapter; .* down_proj, gate"),
        (("q_proj", "lm_head"), "the embeddings or the head, which get no adapter here"),
        (("embed_tokens",), "the embeddings or the head, which get no adapter here"),
    ],
)
def test_layers_that_are_not_there_or_can_have_none_are_refused(
    names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(AtlasError, match=message):
        add_adapter(tiny_model(), LoRA(rank=2, alpha=2, target_modules=names), seed=0)


def test_only_the_layers_that_were_named_get_one() -> None:
    model = add_adapter(tiny_model(), LoRA(rank=2, alpha=2, target_modules=("q_proj",)), seed=0)
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(names) == 2 * 2
    assert all(".q_proj." in name for name in names)


def test_dropout_acts_within_its_context_only_and_repeats() -> None:
    model = adapted_model(dropout=0.5)
    still = logits(model)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with adapter_dropout(model, 7):
        first = logits(model)
    with adapter_dropout(model, 7):
        again = logits(model)
    with adapter_dropout(model, 8):
        other = logits(model)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, still)
    assert torch.equal(logits(model), still)
    assert torch.equal(torch.rand(2), expected)


def test_over_weights_of_four_bits_the_merged_model_has_what_was_computed(tmp_path: Path) -> None:
    tiny_model("qwen2").save_pretrained(tmp_path / "whole")
    base = load_model(tmp_path / "whole", quantization=FakeFourBits())
    quantised = logits(base)
    assert (quantised - logits(tiny_model("qwen2"))).abs().max() > 0.01
    model = add_adapter(base, LoRA(rank=2, alpha=4), seed=0)
    assert torch.equal(logits(model), quantised)
    assert sum(isinstance(module, FourBitLinear) for module in model.modules()) == 14
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)

    whole = merged_model(model)
    assert all(p.dtype == torch.float32 for p in whole.parameters())
    whole.save_pretrained(tmp_path / "merged")
    assert "quantization" not in (tmp_path / "merged" / "config.json").read_text()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), logits(model), rtol=0, atol=2e-5)
    assert (logits(model) - quantised).abs().max() > 0.1


def test_what_an_adapter_adds_survives_rounded_weights_where_more_is_asked_for() -> None:
    model: Any = adapted_model("llama", torch.bfloat16)
    layer = unwrapped(model).model.layers[0].mlp.down_proj
    exact = layer.base_layer.weight.float() + layer.get_delta_weight("default").float()
    assert merged_weight(layer).dtype == torch.bfloat16
    assert torch.equal(merged_weight(layer, torch.float32), exact)
    with model.disable_adapter():
        off = merged_weight(layer, torch.float32)
    assert torch.equal(off, layer.base_layer.weight.float())
