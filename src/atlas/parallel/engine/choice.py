"""The engine that a training job's configuration describes, for the ranks that are there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import PreTrainedModel

from atlas.config.parts.engine import chosen_engine, shares_weights
from atlas.config.train import TrainConfig, check_sharing
from atlas.machine.precision import training_device, trains_in_bf16
from atlas.parallel.distributed import ALONE, Ranks
from atlas.parallel.engine.ddp import DDPEngine
from atlas.parallel.engine.deepspeed import DeepSpeedEngine
from atlas.parallel.engine.deepspeed_settings import settings_of
from atlas.parallel.engine.fsdp import FSDPEngine, Ready, shared_out
from atlas.parallel.engine.plain import PlainEngine
from atlas.parallel.engine.protocol import Engine
from atlas.parallel.engine.runner import Runner


def loading_device(
    config: TrainConfig, num_processes: int, *, main: bool = True, whole: bool = False
) -> torch.device:
    """Return where the model is loaded: in CPU memory if it will be shared out, else for good.

    Args:
        main: This is the process that the others get their shares from. They need no weights then,
            and have a shell (``meta``) where the engine is FSDP and nothing but weights is trained.
        whole: As for `engine_for`.

    Raises:
        AtlasError: As for `shares_weights`, or `check_sharing` refuses.
    """
    if not shares_weights(config, num_processes):
        return training_device()
    check_sharing(config, num_processes)
    fsdp = chosen_engine(config, num_processes) == "fsdp"
    if fsdp and not (main or whole or config.use_peft):
        return torch.device("meta")
    # The checks before sharing out compute with it, which this attention does on a GPU only.
    if config.attn_implementation == "flash_attention_2":
        return training_device()
    return torch.device("cpu")


def engine_for(
    model: PreTrainedModel,
    config: TrainConfig,
    *,
    total_steps: int,
    ranks: Ranks = ALONE,
    whole: bool = False,
    ready: Ready = lambda model, found=None: None,
    say: Callable[[str], None] = lambda line: None,
) -> Engine:
    """Return the engine.

    Args:
        total_steps: Length of the schedule, in optimiser steps.
        whole: Every process computes with the whole model too, as when it samples from it.
        ready: Called with the very model that is trained, before any part of it is given away; with
            FSDP as for `shared_out`.
        say: Told what is done in another way than a file asks for.

    Raises:
        AtlasError: Keys contradict each other, or DeepSpeed is missing or refuses its file.
    """
    if config.gradient_checkpointing:
        model.activation_checkpointing_enable()  # models/passes/recomputing.py then does it
    recipe = {
        "learning_rate": config.learning_rate,
        "total_steps": total_steps,
        "scheduler": config.lr_scheduler_type,
        "warmup_ratio": config.warmup_ratio,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
    }
    name = chosen_engine(config, ranks.size)
    home = torch.device("cpu" if ranks.is_main else "meta")
    if whole:
        home = training_device()
    if name == "deepspeed":
        assert config.deepspeed is not None  # chosen_engine saw to it
        settings, notes = settings_of(config, config.deepspeed, ranks.size)
        for note in notes:
            say(note)
        return DeepSpeedEngine(
            model, ranks=ranks, home=home, settings=settings, ready=ready, **recipe
        )
    if name == "fsdp":
        return FSDPEngine(
            model,
            ranks=ranks,
            home=home,
            ready=ready,
            offload=config.offload,
            bf16=trains_in_bf16(config),
            **recipe,
        )
    ready(model)
    if name == "ddp":
        return DDPEngine(model, ranks=ranks, **recipe)
    return PlainEngine(model, **recipe)


def frozen_for(
    load: Callable[[torch.device, torch.dtype], PreTrainedModel],
    config: TrainConfig,
    ranks: Ranks,
    ready: Ready,
) -> Runner | None:
    """Return a frozen model shared out as what is trained is; None where that isn't.

    Args:
        load: Loads it, given where to and in which precision.
        ready: As for `engine_for`.
    """
    if chosen_engine(config, ranks.size) != "fsdp":
        return None
    bf16 = trains_in_bf16(config)
    device = loading_device(config, ranks.size, main=ranks.is_main)
    model = load(device, torch.bfloat16 if bf16 else torch.float32).requires_grad_(False)
    return shared_out(model, ranks=ranks, ready=ready, offload=config.offload, bf16=bf16)
