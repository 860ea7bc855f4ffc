"""Every engine on a tiny model: ``torchrun … engines.py FOLDER ENGINE …``; rank 0 saves the rest.

Each engine takes five steps of four micro-batches, of which each rank has its share, and is
interrupted after three: what goes on is a new engine with the state of the first. An engine named
``…+served`` is one whose model nobody samples from here: rank 0 alone has a whole copy of it.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import sys
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, PreTrainedModel

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.unit.tiny_models import tiny_config, tiny_model

from atlas.config.sft import SFTConfig
from atlas.models.passes.forward import prepare_forward
from atlas.objectives.loss_types import LossSettings
from atlas.parallel.distributed import Ranks, joined
from atlas.parallel.engine.choice import engine_for, frozen_for, loading_device
from atlas.parallel.engine.protocol import Engine
from atlas.training.update import UpdateSettings, update
from atlas.types import Tokens

STEPS, BREAK_AFTER, NUM_BATCHES = 5, 3, 4


def batches_of(step: int) -> list[Tensor]:
    """Return the micro-batches of a step."""
    random = torch.Generator().manual_seed(step)
    return [torch.randint(5, 40, (2, 7), generator=random) for _ in range(NUM_BATCHES)]


def share_of_loss(model: PreTrainedModel, ids_BT: Tensor) -> tuple[Tensor]:
    """Return a micro-batch's share of the step's mean loss."""
    loss = model(input_ids=ids_BT, labels=ids_BT).loss
    assert loss is not None
    return (loss / NUM_BATCHES,)


def train(engine: Engine, ranks: Ranks, steps: Sequence[int]) -> list[dict[str, float]]:
    """Take steps; return what each did."""
    lines = []
    for step in steps:
        _, mine = ranks.share(batches_of(step))
        loss = 0.0
        for place, ids_BT in enumerate(mine):
            last = place == len(mine) - 1
            (share,) = engine.forward(
                lambda model, ids=ids_BT: share_of_loss(model, ids), last=last
            )
            engine.backward(share)
            loss += share.item()
        info = engine.step()
        total = ranks.sums({"loss": loss}, "loss")["loss"]
        lines.append({"loss": total, "norm": info.grad_norm, "rate": info.learning_rate})
    return lines


@contextlib.contextmanager
def no_large_objects(ranks: Ranks) -> Iterator[None]:
    """Fail where an object that is pickled for all ranks has tensors in it.

    Of a real model they are tens of GB, which every process would hold several times.
    """
    broadcast = ranks.broadcast

    def looked_at(value: Any, what: str) -> Any:
        found = broadcast(value, what)
        assert len(pickle.dumps(found)) < 8192 + 200 * str(found).count("Place("), what
        assert "tensor(" not in str(found), what
        return found

    ranks.broadcast = looked_at  # type: ignore[method-assign]
    try:
        yield
    finally:
        del ranks.broadcast  # type: ignore[method-assign]


class Living(TorchDispatchMode):
    """Counts the bytes of tensors that are made inside and still there, and their peak.

    What is a file that was mapped before counts only where it is copied.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {s.data_ptr() for s in map(_storage, tree_leaves((args, kwargs))) if s}
        found = func(*args, **(kwargs or {}))
        for storage in map(_storage, tree_leaves(found)):
            if storage and storage.data_ptr() not in self._known | given:
                place, size = storage.data_ptr(), storage.nbytes()
                self._known.add(place)
                self.held += size
                self.peak = max(self.peak, self.held)
                weakref.finalize(storage, self._gone, place, size)
        return found

    def _gone(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.held -= size


def _storage(value: Any) -> Any:
    if not isinstance(value, Tensor) or isinstance(value, DTensor) or value.is_meta:
        return None
    return value.untyped_storage()


def kept_bytes(engine: Any) -> int:
    """Return what a rank holds of the optimiser's state."""
    moments = [value for state in engine._optimizer.state.values() for value in state.values()]
    local = [m.to_local() if isinstance(m, DTensor) else m for m in moments]
    return sum(tensor.nbytes for tensor in local if isinstance(tensor, Tensor))


def config_of(name: str, folder: Path) -> SFTConfig:
    """Return the configuration that chooses an engine; zero2 and zero3 are files of DeepSpeed."""
    common: dict[str, Any] = {
        "output_dir": "unused",
        "model_name_or_path": "unused",
        "learning_rate": 1e-2,
        "warmup_ratio": 0.3,
        "max_grad_norm": 0.5,
    }
    name = name.removesuffix("+served")
    if not name.startswith("zero"):
        return SFTConfig(engine=name.removesuffix("+offload"), **common)  # type: ignore[arg-type]
    path = folder / f"{name}.json"
    zero: dict[str, Any] = {"stage": int(name[4])}
    if name.endswith("+offload"):
        zero["offload_optimizer"] = {"device": "cpu"}
    path.write_text(json.dumps({"zero_optimization": zero, "gradient_clipping": 0.5}))
    return SFTConfig(deepspeed=str(path), **common)


def run(name: str, ranks: Ranks, folder: Path) -> dict[str, Any]:
    """Train with one engine; return losses and weights."""
    config = config_of(name, folder)

    def engine_on(model: PreTrainedModel) -> Engine:
        return engine_for(model, config, total_steps=STEPS, ranks=ranks, whole=whole)

    whole = not name.endswith("+served")
    # Only rank 0's weights count: the others begin from something else.
    model = tiny_model(seed=0 if ranks.is_main else 1)
    engine = engine_on(model)
    lines = train(engine, ranks, range(BREAK_AFTER))
    engine.refresh()
    state = engine.state(0 if ranks.is_main else None)
    own = engine.state(ranks.rank, ranks.size)["optimizer"]["state"]
    weights_of = engine.weights(ranks.rank, ranks.size)
    parts = ranks.gather((list(own), list(weights_of)), "parts")
    count = len(list(engine.trained.named_parameters()))
    for kind in range(2):  # each is in one part, and every rank has one
        assert len([name for part in parts for name in part[kind]]) == count
        assert all(part[kind] for part in parts)
    again = tiny_model(seed=2)
    if ranks.is_main:
        again.load_state_dict(engine.model.state_dict())
    second = engine_on(again)
    with no_large_objects(ranks):
        second.load_state(state if ranks.is_main else {})
        # Once more, as where every rank sees the file.
        path = folder / f"{name}.state.pt"
        ranks.on_main(lambda: torch.save(state, path), "state")
        mapped = torch.load(path, mmap=True, weights_only=True)
        with Living() as living:
            second.load_state(mapped)
    if not name.startswith("zero"):  # whose own functions copy every moment twice
        assert living.peak < 1.5 * kept_bytes(second), (living.peak, kept_bytes(second))
    lines += train(second, ranks, range(BREAK_AFTER, STEPS))
    second.refresh()
    weights = {name: p.detach().clone() for name, p in second.model.named_parameters()}
    if whole:  # all ranks must hold the same
        digest = sum(float(p.double().abs().sum()) for p in weights.values())
        assert len(set(ranks.gather(digest, "digest"))) == 1
    else:
        assert ranks.is_main or all(p.is_meta for p in weights.values())
    assert bool(state["optimizer"]["state"]) == ranks.is_main
    return {"lines": lines, "weights": weights, "state": second.state()}


def bf16_step(ranks: Ranks) -> dict[str, Any]:
    """Take a step of GRPO in bfloat16, policy and reference shared out; rank 0 has the weights.

    Returns:
        Its metrics, and how many bytes of weights in bfloat16 were alive after each forward pass.
    """
    config = SFTConfig(
        output_dir="unused",
        model_name_or_path="unused",
        engine="fsdp",
        precision="bf16",
        learning_rate=1e-2,
    )

    def loaded(device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
        if device.type != "meta":
            model = tiny_model()
            for parameter in model.parameters():  # not the rotations, as when it is loaded
                parameter.data = parameter.data.to(dtype)
            return model
        with device:
            return AutoModelForCausalLM.from_config(tiny_config("llama"), dtype=dtype)

    model = loaded(loading_device(config, ranks.size, main=ranks.is_main), torch.float32)
    assert model.device.type == ("cpu" if ranks.is_main else "meta")
    engine = engine_for(model, config, total_steps=3, ranks=ranks, ready=prepare_forward)
    reference = frozen_for(loaded, config, ranks, prepare_forward)
    shapes = {tuple(p.shape) for p in engine.trained.parameters() if p.ndim == 2}
    saved: list[Tensor] = []
    alive: list[int] = []
    backward = engine.backward

    def counted(loss: Tensor) -> None:
        of_weights = [t for t in saved if t.dtype == torch.bfloat16 and tuple(t.shape) in shapes]
        of_weights += [
            t for t in saved if t.dtype == torch.bfloat16 and tuple(t.shape[::-1]) in shapes
        ]
        assert of_weights  # they are what the backward pass multiplies with
        alive.append(sum(t.untyped_storage().nbytes() for t in of_weights))
        saved.clear()
        backward(loss)

    engine.backward = counted  # type: ignore[method-assign]
    # Three groups: one rank takes a pass more than the other, which keeps it company.
    rows = [
        Tokens.of((5 + g, 6, 7), (8 + g, 9, 2 + m), logprobs=(-3.0,) * 3, advantage=m - 0.5)
        for g in range(3)
        for m in range(2)
    ]
    settings = UpdateSettings(
        loss=LossSettings(loss_type="dapo", beta=0.1),
        temperature=0.7,
        max_tokens=10,
        autocast=True,
    )
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        first = update(engine, reference, rows, settings, ranks=ranks)
        second = update(engine, reference, rows, settings, ranks=ranks)
    dtypes = {str(p.dtype) for p in engine.trained.parameters()}
    frozen = {str(p.dtype) for p in reference.parameters()} if reference else set()
    return {"first": first, "second": second, "alive": alive, "dtypes": [dtypes, frozen]}


def main() -> None:
    """Run the engines named on the command line, one after the other."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    with joined(timeout=60, needs_group=True) as ranks:
        found = {name: run(name, ranks, folder) for name in sys.argv[2:]}
        found["bf16"] = bf16_step(ranks)
        if ranks.is_main:
            torch.save(found, folder / "found.pt")


if __name__ == "__main__":
    main()
