"""What several ranks share, with one: FSDP2 and DDP on the device's own exchange (NCCL)."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from atlas.models.passes.forward import prepare_forward
from atlas.objectives.loss_types import LossSettings
from atlas.parallel.distributed import joined
from atlas.parallel.engine.fsdp import FSDPEngine
from atlas.parallel.engine.runner import Runner
from atlas.training.update import UpdateSettings, update
from gpu_sections.setting import Found, Setting, samples


def fsdp(setting: Setting, found: Found) -> None:
    """A step, the whole copy, the state and its return; bf16 weights that autocast keeps alive."""
    model = setting.model(layers=setting.of(2, 6)).cpu()
    prompt, completion = setting.of((12, 8), (256, 128))
    rows = samples(1, 4, prompt, completion, model.config.vocab_size)
    num_bytes = 2 * sum(p.numel() for p in model.parameters())
    settings = UpdateSettings(
        loss=LossSettings(loss_type="dapo", beta=0.0),
        temperature=0.7,
        max_tokens=4096,
        autocast=True,
    )
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        large = tensor.dim() == 2 and tensor.numel() > 1e6
        if large and tensor.dtype == torch.bfloat16 and tensor.untyped_storage().nbytes():
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with joined(timeout=60, needs_group=True) as ranks:
        found["backend"] = dist.get_backend_config()
        engine = FSDPEngine(
            model,
            ranks=ranks,
            home=torch.device("cpu"),
            ready=prepare_forward,
            bf16=True,
            learning_rate=1e-6,
            total_steps=10,
        )
        hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
        with hooks, setting.timed(found, "update"):
            metrics = update(engine, None, rows, settings, ranks=ranks)
        found["train/grad_norm"] = metrics["train/grad_norm"]
        found["bf16 weights kept for the backward pass, GB"] = round(sum(kept.values()) / 1e9, 3)
        found["all weights in bf16, GB"] = round(num_bytes / 1e9, 3)
        with setting.timed(found, "refresh"):
            engine.refresh()
        with setting.timed(found, "state"):
            state = engine.state()
        with setting.timed(found, "load_state"):
            engine.load_state(state)


def ddp(setting: Setting, found: Found) -> None:
    """What DDP's buckets take beside the gradients, and what its views of them save."""
    with joined(timeout=60, needs_group=True):
        for views in (False, True):
            model: Any = setting.model(layers=setting.of(2, 4))
            setting.forget_peak()
            net = DistributedDataParallel(
                Runner(model), forward_sync_buffers=False, gradient_as_bucket_view=views
            )
            ids_BT = torch.randint(5, model.config.vocab_size, (1, 16), device=setting.device)
            for _ in range(2):
                net(lambda own, ids=ids_BT: own(input_ids=ids).logits.float().mean()).backward()
            found[f"held, GB, views {views}"] = setting.held_gb()
            weights = sum(p.numel() for p in model.parameters())
            found["gradients, GB"] = round(4 * weights / 1e9, 2)
            del net, model
