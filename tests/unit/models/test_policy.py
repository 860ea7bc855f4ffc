"""The trained model as the configuration says: precision, attention, adapter, four bits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.models.fake_four_bits import FakeFourBits, FourBitLinear
from tests.unit.saved import save_checkpoint
from tests.unit.tiny_models import tiny_model, tiny_tokenizer

from atlas.config.sft import SFTConfig
from atlas.errors import AtlasError
from atlas.models import policy
from atlas.models.checkpoints import load_model, load_tokenizer, save_model
from atlas.models.lora import is_adapted, save_adapter, trained_share
from atlas.models.policy import checked_attention, load_policy
from atlas.parallel.engine.plain import PlainEngine

IDS = torch.tensor([[5, 6, 7, 8]])


def config_for(model: Path, **changed: object) -> SFTConfig:
    settings = {"model_name_or_path": str(model), "output_dir": "o"} | changed
    return SFTConfig(**settings)  # pyright: ignore[reportArgumentType]


def test_a_whole_model_is_trained_in_float32(model_folder: Path) -> None:
    found = load_policy(config_for(model_folder))
    assert not is_adapted(found.model)
    assert all(p.requires_grad and p.dtype == torch.float32 for p in found.model.parameters())
    assert (found.autocast, found.lines) == (False, ())


def test_frozen_weights_are_held_in_the_precision_of_the_computation(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "computes_bf16", lambda: True)
    found = load_policy(config_for(model_folder, use_peft=True, precision="bf16"))
    assert found.autocast
    for parameter in found.model.parameters():
        wanted = torch.float32 if parameter.requires_grad else torch.bfloat16
        assert parameter.dtype == wanted
    assert found.lines[1].startswith("precision: computed in bfloat16")
    assert len(found.lines) == 2
    monkeypatch.setattr(policy, "computes_bf16", lambda: False)
    whole = load_policy(config_for(model_folder, precision="bf16"))
    assert {p.dtype for p in whole.model.parameters()} == {torch.float32}
    assert "emulates it" in whole.lines[1]


@pytest.mark.parametrize(
    ("kept", "settings", "dtype", "with_bin"),
    [
        (torch.float32, {}, None, True),
        (torch.bfloat16, {}, torch.bfloat16, True),
        (torch.bfloat16, {"final_precision": "float32"}, None, True),
        (torch.bfloat16, {"results_dir": None}, torch.bfloat16, False),
        (torch.float32, {"bin_limit_gb": 1e-5}, None, False),
        (torch.bfloat16, {"bin_limit_gb": 1e-5, "results_dir": None}, torch.bfloat16, False),
    ],
)
def test_the_trained_model_is_saved_as_the_first_one_was_kept(
    tmp_path: Path,
    kept: torch.dtype,
    settings: dict[str, Any],
    dtype: torch.dtype | None,
    with_bin: bool,
) -> None:
    folder = tmp_path / "m"
    save_model(folder, tiny_model(vocab_size=len(tiny_tokenizer())), tiny_tokenizer(), dtype=kept)
    found = load_policy(config_for(folder, **settings))
    assert found.final == {"dtype": dtype, "with_bin": with_bin}
    left_out = [line for line in found.lines if "no pytorch_model.bin" in line]
    told = "bin_limit_gb" in settings and "results_dir" not in settings
    assert bool(left_out) == told
    assert all(re.search(r"of 0\.0 GB: bin_limit_gb is 1e-05", line) for line in left_out)


def test_the_attention_is_the_one_that_was_asked_for(model_folder: Path) -> None:
    for name in ("sdpa", "eager"):
        found = load_policy(config_for(model_folder, attn_implementation=name))
        assert found.model.config._attn_implementation == name
    with pytest.raises(AtlasError, match="attn_implementation=sdpa"):
        load_policy(config_for(model_folder, attn_implementation="flash_attention_2"))


def test_compiling_is_asked_for_and_told(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def compile_training(model: object, *, autocast: bool) -> str:
        assert not autocast  # as the training computes: the compiler makes other code under it
        compiled.append(model)
        return "done"

    monkeypatch.setattr(policy, "compile_training", compile_training)
    assert load_policy(config_for(model_folder)).lines == ()
    assert not compiled
    found = load_policy(config_for(model_folder, torch_compile=True, dataloader_num_workers=4))
    assert compiled == [found.model]
    assert found.lines[0] == "done"
    assert found.lines[1].startswith("dataloader_num_workers=4 has no effect: examples are ")


def test_an_adapter_goes_on_from_its_checkpoint(tmp_path: Path, model_folder: Path) -> None:
    start = load_policy(config_for(model_folder)).model
    config = config_for(model_folder, use_peft=True, lora_r=2, lora_alpha=2, seed=4)
    first, again = load_policy(config).model, load_policy(config).model
    name = next(n for n in first.state_dict() if "lora_A" in n)
    assert torch.equal(first.state_dict()[name], again.state_dict()[name])
    for key, parameter in first.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(parameter)
    save_checkpoint(tmp_path / "step", first, load_tokenizer(model_folder), {"step": 1})
    resumed = load_policy(config, tmp_path / "step").model
    assert torch.equal(resumed(IDS).logits, first(IDS).logits)
    assert not torch.equal(resumed(IDS).logits, start(IDS).logits)
    assert [n for n, p in resumed.named_parameters() if p.requires_grad] == [
        n for n, p in first.named_parameters() if p.requires_grad
    ]


def test_an_adapters_folder_is_trained_on_or_merged_as_asked(
    tmp_path: Path, model_folder: Path
) -> None:
    first = load_policy(config_for(model_folder, use_peft=True, lora_r=2, lora_alpha=2)).model
    for key, parameter in first.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(parameter)
    save_adapter(first, tmp_path / "adapter")
    expected = first(IDS).logits
    trained_on = load_policy(config_for(tmp_path / "adapter", use_peft=True))
    assert torch.equal(trained_on.model(IDS).logits, expected)
    assert trained_share(trained_on.model) == trained_share(first)
    assert trained_on.lines[0].endswith(f"goes on from {tmp_path / 'adapter'}, with its shape")
    merged = load_policy(config_for(tmp_path / "adapter")).model
    torch.testing.assert_close(merged(IDS).logits, expected, rtol=0, atol=2e-5)
    assert not is_adapted(merged)
    assert all(parameter.requires_grad for parameter in merged.parameters())


def test_an_adapter_of_more_than_matrices_is_merged_only(
    tmp_path: Path, model_folder: Path
) -> None:
    model: Any = load_policy(config_for(model_folder, use_peft=True, lora_r=2)).model
    save_adapter(model, tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"init_lora_weights": "olora"}))
    with pytest.raises(AtlasError, match=r"has bias or init_lora_weights.*use_peft=false trains"):
        load_policy(config_for(tmp_path / "adapter", use_peft=True))


def test_without_a_gpu_four_bits_are_refused_in_one_line(model_folder: Path) -> None:
    with pytest.raises(AtlasError, match=r"^load_in_4bit=true needs [^\n]*leave it out[^\n]*$"):
        load_policy(config_for(model_folder, use_peft=True, load_in_4bit=True))


def test_an_adapter_learns_over_weights_of_four_bits(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything but bitsandbytes itself: loading, learning, going on, the merged model."""
    asked = []
    monkeypatch.setattr(policy, "four_bits", lambda dtype: asked.append(dtype) or FakeFourBits())
    config = config_for(model_folder, use_peft=True, load_in_4bit=True, lora_r=4, lora_alpha=8)
    model = load_policy(config).model
    assert asked == [torch.float32]
    codes = {n: m.weight.clone() for n, m in model.named_modules() if isinstance(m, FourBitLinear)}
    assert len(codes) == 14
    engine = PlainEngine(model, learning_rate=1e-2, total_steps=4, warmup_ratio=0.0)
    losses = []
    for _ in range(4):
        loss = model(input_ids=IDS, labels=IDS).loss
        engine.backward(loss)
        engine.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    for name, module in model.named_modules():
        if name in codes:
            assert torch.equal(module.weight, codes[name])  # pyright: ignore[reportArgumentType]

    save_checkpoint(tmp_path / "step", model, load_tokenizer(model_folder), {"step": 4})
    resumed = load_policy(config, tmp_path / "step").model
    assert torch.equal(resumed(IDS).logits, model(IDS).logits)
    save_model(tmp_path / "final", model, load_tokenizer(model_folder), with_bin=True)
    merged = load_model(tmp_path / "final")
    torch.testing.assert_close(merged(IDS).logits, model(IDS).logits, rtol=0, atol=2e-5)


def test_flash_attention_without_its_package_names_the_fallback() -> None:
    with pytest.raises(AtlasError, match=r"needs a CUDA GPU and the package flash-attn.*=sdpa"):
        checked_attention("flash_attention_2")


def test_where_it_can_run_it_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "is_flash_attn_2_available", lambda: True)
    assert checked_attention("flash_attention_2") == "flash_attention_2"


def test_the_others_run_everywhere_and_auto_leaves_it_to_the_library() -> None:
    assert [checked_attention(name) for name in ("auto", "sdpa", "eager")] == [
        None,
        "sdpa",
        "eager",
    ]


@pytest.mark.parametrize(
    ("gpu", "package", "lacking"),
    [
        (False, False, "a CUDA GPU and the package bitsandbytes, which"),
        (False, True, "a CUDA GPU, which"),
        (True, False, "the package bitsandbytes, which"),
    ],
)
def test_what_the_machine_lacks_is_named(
    gpu: bool, package: bool, lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(policy, "find_spec", lambda _: package or None)
    with pytest.raises(AtlasError, match=f"^load_in_4bit=true needs {lacking}.*leave it out"):
        policy.four_bits(torch.bfloat16)


def test_with_both_it_is_nf4_quantised_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(policy, "find_spec", lambda _: True)
    found = policy.four_bits(torch.bfloat16)
    assert found.load_in_4bit
    assert found.bnb_4bit_quant_type == "nf4"
    assert found.bnb_4bit_use_double_quant
    assert found.bnb_4bit_compute_dtype == torch.bfloat16
