"""One rank of a step that is shared: ``python two_ranks.py RANK WORLD FOLDER``.

Every rank takes its part of the groups. The counts of the whole step are the sum of the ranks';
with them as denominator, the ranks' gradients add up to the step's. Rank 0 saves what it found.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.numerics import step_parts as parts

from atlas.models.passes.forward import logprobs
from atlas.models.passes.padded import right_padded
from atlas.models.passes.shared_prefix import siblings
from atlas.objectives.loss import LossInputs, grpo_loss
from atlas.objectives.loss_types import LossType
from atlas.objectives.reduction import StepCounts, count
from atlas.types import Tokens


def main() -> None:
    """Run the rank for every loss type."""
    rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world
    )
    model, reference = parts.policy_and_reference()
    samples = parts.samples_of(model)
    share = [sample for group in siblings(samples)[rank::world] for sample in group]
    found = {}
    for loss_type in get_args(LossType):
        model.zero_grad()
        loss = _backward(model, reference, share, loss_type)
        gradients = parts.gradients_of(model)
        for tensor in (loss, *gradients.values()):
            dist.all_reduce(tensor)
        found[loss_type] = {"loss": loss, "gradients": gradients}
    if rank == 0:
        torch.save(found, f"{folder}/found.pt")
    dist.destroy_process_group()


def _backward(model: Any, reference: Any, share: list[Tokens], loss_type: LossType) -> Any:
    """Add the gradients of the rank's share of the loss, and return it."""
    policy = logprobs(model, share, temperature=parts.TEMPERATURE)
    used_B = torch.tensor([sample.advantage is not None for sample in share])
    mask_BT = policy.mask_BT & used_B.unsqueeze(-1)
    rollout_BT = right_padded([s.logprobs[s.prefix :] for s in share], mask_BT.device).double()
    own = count(mask_BT)
    counts_2 = torch.tensor([own.num_tokens, own.num_sequences])
    dist.all_reduce(counts_2)
    with torch.no_grad():
        ref_BT = logprobs(reference, share, temperature=parts.TEMPERATURE).logprobs_BT
    outputs = grpo_loss(
        LossInputs(
            policy_logprobs_BT=policy.logprobs_BT,
            rollout_logprobs_BT=rollout_BT,
            ref_logprobs_BT=ref_BT,
            advantages_BT=torch.tensor([s.advantages[:1] for s in share]).double(),
            mask_BT=mask_BT,
            step_counts=StepCounts(num_tokens=int(counts_2[0]), num_sequences=int(counts_2[1])),
        ),
        parts.loss_settings(loss_type),
    )
    outputs.loss.backward()
    return outputs.loss.detach()


if __name__ == "__main__":
    main()
