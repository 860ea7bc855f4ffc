"""What every section of `gpu.py` has: the device, random models in the guide's shapes, measures."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from atlas.planning.memory_plan import ModelShape
from atlas.planning.model_shapes import known_models
from atlas.types import Tokens

TEACHER, STUDENT = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-4B-Instruct-2507"
BF16_FLOPS = 790e12
"""Products a second of an H200 in bfloat16, as measured on one; MFU is told against it."""
_TINY = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "head_dim": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}

Found = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where the sections run, and how large."""

    tiny: bool
    """On the CPU, with models of a few thousand weights: shows that the sections run."""

    @property
    def device(self) -> torch.device:
        """Where models are."""
        return torch.device("cpu") if self.tiny else torch.device("cuda", 0)

    def of(self, small: Any, large: Any) -> Any:
        """Return the first where it is tiny, else the second."""
        return small if self.tiny else large

    def model(
        self,
        name: str = TEACHER,
        *,
        layers: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> PreTrainedModel:
        """Return a model of random weights in the shape of a known one, with so many layers."""
        fields = dict(known_models()[name])
        kind = fields.pop("model_type")
        fields |= {"num_hidden_layers": layers} if layers else {}
        fields |= _TINY if self.tiny else {}
        config = AutoConfig.for_model(kind, **fields)
        torch.manual_seed(0)
        with self.device:
            model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
        return model.eval()

    @contextlib.contextmanager
    def timed(self, found: Found, name: str) -> Iterator[None]:
        """Note the seconds of the block as ``NAME_s``, all work on the device included."""
        self.wait()
        start = time.perf_counter()
        yield
        self.wait()
        found[f"{name}_s"] = round(time.perf_counter() - start, 4)

    def wait(self) -> None:
        """Wait for the device."""
        if not self.tiny:
            torch.cuda.synchronize()

    def held_gb(self) -> float:
        """Return what tensors take now."""
        return 0.0 if self.tiny else round(torch.cuda.memory_allocated() / 1e9, 2)

    def peak_gb(self) -> float:
        """Return the most that tensors took since `forget_peak`."""
        return 0.0 if self.tiny else round(torch.cuda.max_memory_allocated() / 1e9, 2)

    def forget_peak(self) -> None:
        """Begin to look for the peak anew."""
        if not self.tiny:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def shape_of(model: PreTrainedModel) -> ModelShape:
    """Return a model's shape, for a plan of its memory."""
    config = model.config
    return ModelShape(
        num_parameters=sum(p.numel() for p in model.parameters()),
        num_layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        vocab=config.vocab_size,
        kv_width=config.num_key_value_heads * config.head_dim,
    )


def samples(groups: int, members: int, prompt: int, completion: int, vocab: int) -> list[Tokens]:
    """Return random samples in groups, of uneven lengths, half of them better than the mean."""
    random = torch.Generator().manual_seed(1)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, vocab, (count,), generator=random).tolist())

    made = []
    for _ in range(groups):
        asked = ids(prompt)
        for member in range(members):
            done = ids(max(2, completion - member))
            made.append(
                Tokens.of(
                    asked, done, logprobs=(-8.0,) * len(done), advantage=float(member % 2) - 0.5
                )
            )
    return made
