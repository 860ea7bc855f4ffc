"""DeepSpeed's file and our keys -> the settings that DeepSpeed is started with.

The file says which stage of ZeRO, what is offloaded, and how it communicates. What our own keys say
(batch, clipping, precision, optimiser, schedule) the file may say too, as long as it says the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atlas.config.parts.engine import read_deepspeed_file
from atlas.config.train import TrainConfig
from atlas.errors import AtlasError

AUTO = "auto"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """What the run's own configuration says on matters that DeepSpeed's file knows of too."""

    max_grad_norm: float
    precision: str
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    num_processes: int
    offload: bool


def settings_of(
    config: TrainConfig, path: str, num_processes: int
) -> tuple[dict[str, Any], list[str]]:
    """Return DeepSpeed's settings for a training and notes, as `deepspeed_settings` does.

    Raises:
        AtlasError: The file can't be read, or it contradicts the configuration.
    """
    keys = RunSettings(
        max_grad_norm=config.max_grad_norm,
        precision=config.precision,
        per_device_train_batch_size=config.per_device_train_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        num_processes=num_processes,
        offload=config.offload,
    )
    return deepspeed_settings(read_deepspeed_file(path), keys, path=path)


def deepspeed_settings(
    content: Mapping[str, Any], keys: RunSettings, *, path: str
) -> tuple[dict[str, Any], list[str]]:
    """Return DeepSpeed's settings, and notes on what of the file is done in another way.

    Raises:
        AtlasError: The file contradicts one of our keys, which is named; or asks for something that
            isn't DeepSpeed's to do here; or a section is none.
    """
    for name in ("zero_optimization", "fp16", "bf16"):
        if not isinstance(content.get(name), dict | None):
            raise AtlasError(f"{path}: {name} must be an object, as in {{{name!r}: {{…}}}}")
    _refuse_foreign(content, path)
    _check_equal(content, keys, path)
    zero = dict(content.get("zero_optimization") or {})
    if keys.offload and "offload_optimizer" not in zero:
        zero["offload_optimizer"] = {"device": "cpu"}
    if zero.get("stage", 0) not in (1, 2, 3):
        raise AtlasError(
            f"{path} must say stage 1, 2 or 3 in zero_optimization; without, it is engine=ddp"
        )
    _check_precision(content, keys, path)
    notes = [
        f"{path}: {name} is left to Atlas: weights stay float32, and precision says what is "
        "computed in"
        for name in ("fp16", "bf16")
        if (content.get(name) or {}).get("enabled") is True
    ]
    ours = {
        # A loss here is a share of the step's; when a step is done is said by hand.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "train_batch_size": keys.num_processes,
        "gradient_clipping": keys.max_grad_norm,
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
    }
    theirs = {name: value for name, value in content.items() if name not in ("fp16", "bf16")}
    return {**theirs, **ours}, notes


def _check_precision(content: Mapping[str, Any], keys: RunSettings, path: str) -> None:
    """Refuse two precisions at once; where the run leaves its own open, the file's is noted."""
    wanted = [n for n in ("fp16", "bf16") if (content.get(n) or {}).get("enabled") is True]
    if len(wanted) > 1:
        raise AtlasError(f"{path} enables fp16 and bf16 at once; take one of them out")
    if wanted and keys.precision not in ("auto", wanted[0]):
        raise AtlasError(
            f"{path} enables {wanted[0]}, but precision={keys.precision}; make them agree, or "
            f'set "enabled" to "{AUTO}" in the file'
        )


def _refuse_foreign(content: Mapping[str, Any], path: str) -> None:
    for section, instead in (
        ("optimizer", "learning_rate and weight_decay"),
        ("scheduler", "lr_scheduler_type and warmup_ratio"),
    ):
        if section in content:
            raise AtlasError(
                f"{path} has a section {section}, but {instead} decide that; take it out"
            )


def _check_equal(content: Mapping[str, Any], keys: RunSettings, path: str) -> None:
    step = keys.per_device_train_batch_size * keys.gradient_accumulation_steps * keys.num_processes
    for theirs, ours, value in (
        ("gradient_clipping", "max_grad_norm", keys.max_grad_norm),
        (
            "train_micro_batch_size_per_gpu",
            "per_device_train_batch_size",
            keys.per_device_train_batch_size,
        ),
        (
            "gradient_accumulation_steps",
            "gradient_accumulation_steps",
            keys.gradient_accumulation_steps,
        ),
        ("train_batch_size", "the examples of a step", step),
    ):
        if content.get(theirs, AUTO) not in (AUTO, value):
            raise AtlasError(
                f"{path} says {theirs}={content[theirs]}, but {ours}={value}; make them equal, or "
                f'write "{AUTO}" in the file'
            )
