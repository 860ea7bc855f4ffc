"""The extension on a small object in the place of vLLM's worker."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from tests.unit.serve.transfer.fake_vllm import FakeConnection, FakeWorker

from atlas.errors import AtlasError
from atlas.serve.inside import worker as worker_module
from atlas.serve.inside.worker import pack_heads
from atlas.serve.transfer.file import FileTransfer

SERVED = {"model.a.weight": torch.zeros(3, 2), "model.b.weight": torch.zeros(4)}


@pytest.fixture(autouse=True)
def _no_packed_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "pack_heads", lambda model: None)


def send(worker: FakeWorker, tensors: dict[str, torch.Tensor], version: int) -> None:
    FileTransfer().send(FakeConnection(worker), tensors.items(), version, 5.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        {"model.a.weight": torch.zeros(3, 2)},
        {**SERVED, "model.c.weight": torch.zeros(1)},
        {**SERVED, "model.b.weight": torch.zeros(5)},
    ],
    ids=["one missing", "one too many", "another shape"],
)
def test_weights_of_another_model_touch_nothing(
    tmp_path: Path, other: dict[str, torch.Tensor]
) -> None:
    save_file(SERVED, tmp_path / "model.safetensors")
    worker = FakeWorker(tmp_path)
    send(worker, SERVED, 1)
    worker.loaded.clear()
    with pytest.raises(AtlasError, match=r"weights of another model: model\.[bc]\.weight"):
        send(worker, other, 2)
    assert worker.loaded == {}
    assert worker.atlas_state()["version"] == 1


def test_a_tied_head_may_be_sent_or_not(tmp_path: Path) -> None:
    save_file(SERVED, tmp_path / "model.safetensors")
    worker = FakeWorker(tmp_path)
    send(worker, {**SERVED, "lm_head.weight": torch.zeros(3, 2)}, 1)
    send(worker, SERVED, 2)
    assert worker.atlas_state()["version"] == 2


def test_a_load_that_fails_half_way_leaves_no_version(tmp_path: Path) -> None:
    worker = FakeWorker(tmp_path)
    send(worker, SERVED, 1)
    worker._fails = True
    with pytest.raises(AtlasError, match="RuntimeError: no memory"):
        send(worker, SERVED, 2)
    state = worker.atlas_state()
    assert (state["version"], state["broken"]) == (None, "RuntimeError: no memory")
    worker._fails = False
    send(worker, SERVED, 3)
    state = worker.atlas_state()
    assert (state["version"], state["broken"]) == (3, None)


def test_packed_heads_are_packed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the CPU's instructions let vLLM pack weights; on others a real server shows nothing."""

    class Head(torch.nn.Linear):
        pass

    def pack(layer: torch.nn.Module, *, remove_weight: bool) -> None:
        assert not remove_weight
        packed = layer.weight.detach().clone()
        layer.cpu_linear = lambda x: x @ packed.t()

    layers = "vllm.model_executor.layers"
    monkeypatch.setitem(
        sys.modules, f"{layers}.utils", SimpleNamespace(dispatch_cpu_unquantized_gemm=pack)
    )
    monkeypatch.setitem(
        sys.modules,
        f"{layers}.vocab_parallel_embedding",
        SimpleNamespace(VocabParallelEmbedding=Head),
    )
    head, on_gpu, other = Head(4, 3, bias=False), Head(4, 3), torch.nn.Linear(4, 3)
    pack(head, remove_weight=False)
    pack_heads(torch.nn.ModuleList([head, on_gpu, other]))
    with torch.no_grad():
        head.weight.add_(1)
    x = torch.randn(2, 4)
    assert not torch.allclose(head.cpu_linear(x), head(x))
    pack_heads(torch.nn.ModuleList([head, on_gpu, other]))
    assert torch.allclose(head.cpu_linear(x), head(x))
    assert not hasattr(on_gpu, "cpu_linear")
    assert not hasattr(other, "cpu_linear")


def test_an_update_packs_the_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[object] = []
    monkeypatch.setattr(worker_module, "pack_heads", packed.append)
    worker = FakeWorker(tmp_path)
    send(worker, SERVED, 1)
    worker.atlas_mark(2)
    assert len(packed) == 2
