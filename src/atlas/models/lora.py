"""Low-rank adapters (LoRA): what is trained instead of a model's own weights.

    y = W x + (alpha / r) B A x        A [r, in], B [out, r], B = 0 at the start

Hu et al. 2021, arXiv 2106.09685; over frozen weights of four bits: Dettmers et al. 2023 (QLoRA),
arXiv 2305.14314. Input: a `transformers` model. Output: the same inside peft's wrapper, which
passes on all that it is asked, so that everything here takes it for a `PreTrainedModel`; and, for
those who need it whole, the model with W + (alpha / r) B A in place of W.
"""

from __future__ import annotations

import contextlib
import copy
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from atlas.errors import AtlasError
from atlas.models.whole import check_files, in_one_line

if TYPE_CHECKING:
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

_EVERY_LINEAR = "all-linear"
_MORE_THAN_MATRICES = (
    "use_dora",
    "modules_to_save",
    "trainable_token_indices",
    "lora_bias",
    "target_parameters",
    "layer_replication",
    "alora_invocation_tokens",
)
"""Settings of an adapter that let it change more than W by (alpha / r) B A."""
_PARTS = ("lora_A", "lora_B", "lora_dropout", "lora_embedding_A", "lora_embedding_B")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoRA:
    """The shape of an adapter."""

    rank: int
    alpha: int
    dropout: float = 0.0
    """Share of its inputs that is left out while it learns."""
    target_modules: tuple[str, ...] | None = None
    """Names of layers, or the ends of them; None: all linear ones but the head."""


def add_adapter(model: PreTrainedModel, shape: LoRA, *, seed: int) -> PreTrainedModel:
    """Freeze a model and put a new adapter into it, which does nothing yet.

    Args:
        model: Changed in place.

    Raises:
        AtlasError: It has no layers of these names, or they are its embeddings or its head.
    """
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - slow to import

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=shape.rank,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        target_modules=list(shape.target_modules) if shape.target_modules else _EVERY_LINEAR,
    )
    names = [name for name, _ in model.named_modules()]
    # peft passes over names that no layer has, as long as one of them has one.
    absent = [
        target
        for target in shape.target_modules or ()
        if not any(name == target or name.endswith(f".{target}") for name in names)
    ]
    if absent:
        raise AtlasError(
            f"lora_target_modules: {model.config.model_type} has no layers called "
            f"{', '.join(absent)}; it has {', '.join(_linear_names(names))}"
        )
    with torch.random.fork_rng(_own_device()), _quiet():
        torch.manual_seed(seed)
        try:
            adapted = get_peft_model(model, config)
        except ValueError as error:
            raise AtlasError(
                f"lora_target_modules: one of {', '.join(shape.target_modules or ())} can get no "
                f"adapter; it is usually put into {', '.join(_linear_names(names))}"
            ) from error
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    if any(is_adapter(end) for end in ends):
        raise AtlasError(
            "lora_target_modules names the embeddings or the head, which get no adapter here; "
            "leave them out"
        )
    return cast(PreTrainedModel, adapted.eval())


def load_adapter(model: PreTrainedModel, folder: str | Path) -> PreTrainedModel:
    """Freeze a model and put the adapter of a folder into it, to be trained on.

    Raises:
        AtlasError: It isn't wholly there, isn't this model's, or is more than low-rank matrices.
    """
    adapted = _with_adapter(model, folder, trained=True)
    shape: Any = adapted.peft_config["default"]
    more = [name for name in _MORE_THAN_MATRICES if getattr(shape, name, None)]
    if shape.bias != "none" or shape.init_lora_weights not in (True, False, "gaussian"):
        more.append("bias or init_lora_weights")
    if more:
        raise AtlasError(
            f"the adapter '{folder}' has {more[0]}, which isn't trained on here; use_peft=false "
            "trains the whole model with the adapter in it"
        )
    return cast(PreTrainedModel, adapted.eval())


def with_merged(model: PreTrainedModel, folder: str | Path) -> PreTrainedModel:
    """Return a model with the adapter of a folder added to its weights, all of them trainable.

    Raises:
        AtlasError: The adapter isn't wholly there, or isn't this model's.
    """
    merge: Any = _with_adapter(model, folder, trained=False).merge_and_unload
    with in_one_line("adapter", folder):
        return merge(safe_merge=True).requires_grad_(True).eval()


def _with_adapter(model: PreTrainedModel, folder: str | Path, *, trained: bool) -> PeftModel:
    from peft import PeftModel, get_peft_model_state_dict  # noqa: PLC0415 - slow to import
    from peft.utils import load_peft_weights  # noqa: PLC0415 - slow to import

    name = str(folder)
    check_files(name, weights=True)
    with in_one_line("adapter", folder), _quiet():
        adapted = PeftModel.from_pretrained(model, name, is_trainable=trained)
        stored = load_peft_weights(name, device="cpu")
        asked = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    odd = sorted(asked.keys() ^ stored.keys())
    if odd:
        raise AtlasError(
            f"the adapter '{folder}' isn't whole, or of another model: {odd[0]} is "
            f"{'asked for by adapter_config.json only' if odd[0] in asked else 'in its file only'}"
        )
    if not all(tensor.isfinite().all() for tensor in stored.values()):
        raise AtlasError(f"the adapter '{folder}' holds weights that are no numbers")
    return adapted


def save_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Write the adapter as stock peft loads it, without the model."""
    # "auto" would look for the model's configuration on the hub.
    cast(Any, model).save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's form, not filled in


def is_adapted(model: nn.Module) -> bool:
    """Tell whether a model is inside peft's wrapper."""
    peft = sys.modules.get("peft")  # slow to import, and without it nothing is in its wrapper
    return peft is not None and isinstance(model, peft.PeftModel)


def is_adapter(layer: object) -> TypeGuard[LoraLayer]:
    """Tell whether a layer is one that an adapter was put into."""
    lora = sys.modules.get("peft.tuners.lora")
    return lora is not None and isinstance(layer, lora.LoraLayer)


def unwrapped(model: PreTrainedModel) -> PreTrainedModel:
    """Return the `transformers` model itself; its layers still hold the adapter."""
    return cast(Any, model).get_base_model() if is_adapted(model) else model


@torch.no_grad()
def merged_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return all weights under the names of the model without adapter, the adapter added.

    What no adapter changes is the model's own tensor. Weights of four bits are brought back to the
    precision that they are computed in.
    """
    from peft.utils.integrations import dequantize_module_weight  # noqa: PLC0415 - slow to import

    weights: dict[str, Tensor] = {}
    for name, module in unwrapped(model).named_modules():
        path = name.split(".")
        if any(part in _PARTS for part in path) or is_adapter(module):
            continue
        plain = ".".join(part for part in path if part != "base_layer")
        for key, parameter in module.named_parameters(recurse=False):
            weight = dequantize_module_weight(module) if key == "weight" else parameter
            weights[f"{plain}.{key}"] = weight.detach()
        for key, buffer in module.named_buffers(recurse=False):
            if key not in module._non_persistent_buffers_set:
                weights[f"{plain}.{key}"] = buffer
    for name, module in unwrapped(model).named_modules():
        if is_adapter(module):
            weights[f"{name}.weight"] = merged_weight(module)
    return weights


@torch.no_grad()
def merged_weight(layer: LoraLayer, dtype: torch.dtype | None = None) -> Tensor:
    """Return W + (alpha / r) B A of one layer, computed in float32 at least.

    Args:
        layer: With its adapter.
        dtype: Of what is returned; None: that of W.
    """
    from peft.utils.integrations import dequantize_module_weight  # noqa: PLC0415 - slow to import

    net: Any = layer
    weight = dequantize_module_weight(net.get_base_layer())
    dtype = dtype or weight.dtype
    if net.disable_adapters:
        return weight.detach().to(dtype)
    exact = torch.promote_types(weight.dtype, torch.float32)
    deltas = [net.get_delta_weight(name).to(exact) for name in net.active_adapters]
    return sum(deltas, start=weight.to(exact)).to(dtype)


def merged_model(model: PreTrainedModel) -> PreTrainedModel:
    """Return a model without adapter that computes the same, to be saved, not to be run."""
    base = unwrapped(model)
    config: Any = copy.deepcopy(base.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        whole = AutoModelForCausalLM.from_config(config)
    whole.load_state_dict(merged_weights(model), strict=False, assign=True)
    whole.tie_weights()
    missing = [name for name, parameter in whole.named_parameters() if parameter.is_meta]
    assert not missing, missing
    whole.generation_config = base.generation_config
    return whole


@contextlib.contextmanager
def adapter_dropout(model: PreTrainedModel, seed: int) -> Iterator[None]:
    """Let the adapter's dropout act, forward and backward, with the random numbers of ``seed``.

    Models stay in evaluation mode here, so that nothing else of theirs is random.
    """
    dropouts = [
        dropout
        for module in model.modules()
        if is_adapter(module)
        for dropout in module.lora_dropout.values()
        if isinstance(dropout, nn.Dropout)
    ]
    if not dropouts:
        yield
        return
    with torch.random.fork_rng(_own_device()):
        torch.manual_seed(seed)
        for dropout in dropouts:
            dropout.train()
        try:
            yield
        finally:
            for dropout in dropouts:
                dropout.eval()


def _own_device() -> list[int]:
    """Return the GPU of this process: without a word, all of the machine's would be touched."""
    return [torch.cuda.current_device()] if torch.cuda.is_available() else []


def trained_share(model: nn.Module) -> tuple[int, int]:
    """Return how many weights are trained, and how many there are."""
    counts = [(p.numel() if p.requires_grad else 0, p.numel()) for p in model.parameters()]
    return sum(trained for trained, _ in counts), sum(every for _, every in counts)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to themselves what peft finds out and mends, and its use of names that grow old."""
    with warnings.catch_warnings():
        for message in ("fan_in_fan_out", ".*tie_word_embeddings", "`is_gradient_checkpointing`"):
            warnings.filterwarnings("ignore", message=message)
        yield


def _linear_names(names: list[str]) -> list[str]:
    """Return the last parts of the names of layers that an adapter is usually put into."""
    ends = {name.rsplit(".", 1)[-1] for name in names}
    return sorted(end for end in ends if end.endswith(("_proj", "c_attn", "c_fc")))
