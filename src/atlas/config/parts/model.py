"""Configuration of the model that is trained: where it is, in which precision, what is trained."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Self

from atlas.config.grammar.schema import Part, key, keys_of, required
from atlas.errors import AtlasError

AttnImplementation = Literal["auto", "sdpa", "eager", "flash_attention_2"]
TrainedPrecision = Literal["auto", "float32", "bf16"]

_OF_THE_ADAPTER = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Part):
    """How a pre-trained model is loaded, and which of its weights are trained."""

    model_name_or_path: str = required("Where the weights come from: a folder or a hub id.")
    precision: TrainedPrecision = key(
        "auto",
        "Of the training's computation: float32, or bf16, which keeps trained weights in float32 "
        "and frozen ones in bfloat16. auto: bf16 on a GPU that has it, else float32.",
    )
    attn_implementation: AttnImplementation = key(
        "auto",
        "The model's attention where groups don't share their prompt (SFT, the model's own "
        "sampling). auto: the library's choice, sdpa. flash_attention_2 needs its package and a "
        "GPU.",
    )
    torch_compile: bool = key(
        False,
        "Compile the layers for training. Pays on a GPU and for long runs: compiling takes a "
        "minute.",
    )
    use_peft: bool = key(
        False,
        "Train a low-rank adapter (LoRA) and leave the model's weights as they are: a fraction of "
        "the memory.",
    )
    lora_r: int = key(16, "Rank of the adapter. Higher when it can't learn enough.", ge=1)
    lora_alpha: int = key(
        32, "The adapter's output is multiplied by lora_alpha / lora_r. Raise both together.", ge=1
    )
    lora_dropout: float = key(
        0.0,
        "Share of the adapter's inputs left out in training. Higher when it overfits.",
        ge=0,
        lt=1,
    )
    lora_target_modules: tuple[str, ...] | None = key(
        None,
        "Names of the layers that get an adapter, as q_proj; null: all linear ones but the head.",
    )
    load_in_4bit: bool = key(
        False,
        "Keep the frozen weights in 4 bits (QLoRA); needs use_peft, a CUDA GPU and bitsandbytes.",
    )

    def resolved(self, given: Collection[str], world_size: int) -> Self:
        """Refuse keys of an adapter where none is trained; at its default, a key says nothing."""
        del given, world_size
        if self.load_in_4bit and not self.use_peft:
            raise AtlasError(
                "load_in_4bit=true needs use_peft=true: weights of 4 bits can't be trained, only "
                "an adapter beside them"
            )
        for name in () if self.use_peft else _OF_THE_ADAPTER:
            if getattr(self, name) != keys_of(ModelConfig)[name].default:
                raise AtlasError(
                    f"{name} is read with use_peft=true only; set that, or leave {name} out"
                )
        return self
