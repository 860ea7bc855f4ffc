"""The model that is trained, loaded and dressed as the configuration says.

Input: a job's configuration, and the checkpoint that a run goes on from, if any. Output: the model,
how its passes are computed, and what a person should read about it. Three cases::

    whole        checkpoint or model_name_or_path, float32; all of it is trained
    use_peft     model_name_or_path, frozen, in the precision of the computation;
                 the adapter is new, or the checkpoint's, or where model_name_or_path is an
                 adapter's folder, that one on its base
    load_in_4bit the same, its weights in four bits
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.utils.import_utils import is_flash_attn_2_available

from atlas.config.parts.model import AttnImplementation, ModelConfig
from atlas.config.train import TrainConfig
from atlas.errors import AtlasError
from atlas.machine.precision import (
    computes_bf16,
    set_matmul_precision,
    training_device,
    trains_in_bf16,
)
from atlas.models.checkpoints import kept_dtype, load_model
from atlas.models.lora import LoRA, add_adapter, load_adapter, trained_share
from atlas.models.passes.compiling import compile_training
from atlas.models.whole import adapter_base
from atlas.run.seeding import derive_seed

_NO_WORKERS = (
    "dataloader_num_workers={} has no effect: examples are tokenised before the first step, and a "
    "batch is a slice of them"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """A model to train."""

    model: PreTrainedModel
    autocast: bool
    """Compute in bfloat16 where that is safe."""
    lines: tuple[str, ...]
    """What is worth knowing, for the log."""
    final: dict[str, Any] = field(default_factory=dict)
    """How it is saved when it is trained: options of `save_model`."""


def load_policy(
    config: TrainConfig, checkpoint: Path | None = None, *, device: torch.device | None = None
) -> Policy:
    """Load the model of a training, and set how exact this process multiplies.

    Args:
        checkpoint: Where the run goes on from; None: it starts anew.
        device: Where it is loaded to; None: where one process trains.

    Raises:
        AtlasError: It can't be loaded, or not so on this machine.
    """
    set_matmul_precision(config.float32_matmul_precision)
    policy = _loaded(config, checkpoint, device or training_device())
    lines = list(policy.lines)
    if config.torch_compile:
        lines.append(compile_training(policy.model, autocast=policy.autocast))
    if config.dataloader_num_workers:
        lines.append(_NO_WORKERS.format(config.dataloader_num_workers))
    final = final_options(config, policy.model, lines.append)
    return replace(policy, lines=tuple(lines), final=final)


def _loaded(config: TrainConfig, checkpoint: Path | None, device: torch.device) -> Policy:
    attention = checked_attention(config.attn_implementation)
    autocast = trains_in_bf16(config)
    if attention == "flash_attention_2" and not autocast:
        raise AtlasError(
            "attn_implementation=flash_attention_2 computes in half precision only, and this "
            "training computes in float32; set precision=bf16, or attn_implementation=sdpa"
        )
    if not config.use_peft:
        model = load_model(
            checkpoint or config.model_name_or_path, attention=attention, device=device
        )
        return Policy(model=model, autocast=autocast, lines=tuple(_precision_lines(autocast)))
    dtype = torch.bfloat16 if autocast else torch.float32
    begun = adapter_base(config.model_name_or_path)
    base = load_model(
        begun or config.model_name_or_path,
        dtype=dtype,
        attention=attention,
        quantization=four_bits(dtype) if config.load_in_4bit else None,
        device=device,
    )
    start = checkpoint or (config.model_name_or_path if begun else None)
    if start:
        model = load_adapter(base, start)
    else:
        model = add_adapter(base, lora_of(config), seed=derive_seed(config.seed, "adapter"))
    trained, every = trained_share(model)
    line = f"adapter: {trained:,} of {every:,} weights are trained ({trained / every:.2%})"
    if begun and not checkpoint:
        line += f"; it goes on from {config.model_name_or_path}, with its shape"
    return Policy(model=model, autocast=autocast, lines=(line, *_precision_lines(autocast)))


def final_options(
    config: TrainConfig, model: PreTrainedModel, say: Callable[[str], None]
) -> dict[str, Any]:
    """Return in which precision `save_model` writes the trained model, and whether twice.

    Args:
        model: That is trained, perhaps a shell.
        say: Told what isn't written that usually is.
    """
    halved = (
        config.final_precision == "auto" and kept_dtype(config.model_name_or_path) == torch.bfloat16
    )
    with_bin = config.results_dir is not None
    gigabytes = sum(p.numel() for p in model.parameters()) * (2 if halved else 4) / 1e9
    if with_bin and gigabytes > config.bin_limit_gb:
        with_bin = False
        say(
            f"final/ gets no pytorch_model.bin, of {gigabytes:.1f} GB: bin_limit_gb is "
            f"{config.bin_limit_gb:g}"
        )
    return {"dtype": torch.bfloat16 if halved else None, "with_bin": with_bin}


def lora_of(config: ModelConfig) -> LoRA:
    """Return the shape of the adapter that a configuration asks for."""
    return LoRA(
        rank=config.lora_r,
        alpha=config.lora_alpha,
        dropout=config.lora_dropout,
        target_modules=config.lora_target_modules,
    )


def _precision_lines(autocast: bool) -> list[str]:
    if not autocast:
        return []
    lines = ["precision: computed in bfloat16, trained weights and optimiser states in float32"]
    if not computes_bf16():
        lines.append(
            "warning: this processor has no bfloat16 and emulates it, up to a hundred times slower "
            "than precision=float32"
        )
    return lines


def checked_attention(choice: AttnImplementation) -> str | None:
    """Return what `transformers` is told; None leaves it the choice.

    Raises:
        AtlasError: FlashAttention is asked for and can't run here.
    """
    if choice == "flash_attention_2" and not is_flash_attn_2_available():
        raise AtlasError(
            "attn_implementation=flash_attention_2 needs a CUDA GPU and the package flash-attn, "
            "which are not both here; set attn_implementation=sdpa, which every machine has"
        )
    return None if choice == "auto" else choice


def four_bits(compute_dtype: torch.dtype) -> Any:
    """Return the quantisation that a model is loaded with: QLoRA, by bitsandbytes.

    NF4 with its constants quantised again is what QLoRA trains on (Dettmers et al. 2023, arXiv
    2305.14314, sections 3 and 4).

    Args:
        compute_dtype: What weights are brought back to for each product.

    Raises:
        AtlasError: There is no GPU, or no bitsandbytes.
    """
    lacking = [] if torch.cuda.is_available() else ["a CUDA GPU"]
    lacking += [] if find_spec("bitsandbytes") else ["the package bitsandbytes"]
    if lacking:
        raise AtlasError(
            f"load_in_4bit=true needs {' and '.join(lacking)}, which this machine lacks; leave it "
            "out: use_peft=true alone trains the same adapter beside whole weights"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )
