"""The contract of every way to move weights; what can't run here is replaced at its lowest edge.

For CUDA IPC these are the two functions of torch that make and open a handle, for NCCL vLLM's
engine, which drives the server through our calls.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.unit.serve.transfer.fake_vllm import FakeConnection, FakeWorker

from atlas.errors import AtlasError
from atlas.serve.inside import ipc as inside_ipc
from atlas.serve.inside import worker as worker_module
from atlas.serve.transfer import ipc, nccl
from atlas.serve.transfer.file import FileTransfer
from atlas.serve.transfer.ipc import IPCTransfer
from atlas.serve.transfer.nccl import NCCLTransfer
from atlas.serve.transfer.protocol import WeightTransfer

TENSORS = {
    "model.embed_tokens.weight": torch.randn(10, 4),
    "model.norm.weight": torch.randn(4).to(torch.bfloat16),
    "transposed": torch.randn(6, 4).t(),
}


class FakeCUDA:
    """Handles that are keys of a dictionary."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.memory: dict[bytes, torch.Tensor] = {}
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        for name in ("synchronize", "ipc_collect"):
            monkeypatch.setattr(f"torch.cuda.{name}", lambda: None)
        monkeypatch.setattr("torch.cuda.current_device", lambda: 0)
        uuid = SimpleNamespace(uuid="GPU-1")
        monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: uuid)
        monkeypatch.setattr(ipc, "reduce_tensor", self.reduce)
        monkeypatch.setattr(inside_ipc, "rebuild_cuda_tensor", self.rebuild)

    def reduce(self, tensor: torch.Tensor) -> tuple[None, tuple[Any, ...]]:
        handle = bytes([255, len(self.memory)])
        self.memory[handle] = tensor
        size, stride = tensor.size(), tensor.stride()
        own = (type(tensor), size, stride, 0, torch.storage.TypedStorage, tensor.dtype, 0)
        return None, (*own, handle, tensor.nbytes, 0, False, b"counter", 0, b"event", True)

    def rebuild(self, *parts: Any) -> torch.Tensor:
        cls, size, stride, offset, storage, dtype, device, handle, nbytes, *_ = parts
        found = self.memory[handle]
        assert (found.size(), found.stride(), found.dtype) == (size, stride, dtype)
        assert (cls, storage, device) == (torch.Tensor, torch.storage.TypedStorage, 0)
        assert (offset, nbytes) == (0, found.nbytes)
        return found


class FakeEngine:
    """vLLM's trainer-side engine: the four calls in their order, and the tensors to the worker."""

    worker: FakeWorker

    def __init__(self, begin: Any, client: Any, source: Any) -> None:
        self.client, self.source, self.running = client, source, True
        client.init_weight_transfer_engine({"world_size": begin.world_size})

    def send_weights(self) -> None:
        self.client.start_weight_update()
        described = self.source.metadata()
        self.client.update_weights({"names": [meta.name for meta in described]})
        for meta, (name, tensor) in zip(described, self.source, strict=True):
            assert (meta.name, meta.dtype, meta.shape) == (name, tensor.dtype, tensor.shape)
            self.worker.loaded[name] = tensor.clone()
        self.client.finish_weight_update()

    def shutdown(self) -> None:
        self.running = False


def file_way(worker: FakeWorker, monkeypatch: pytest.MonkeyPatch) -> WeightTransfer:
    return FileTransfer()


def ipc_way(worker: FakeWorker, monkeypatch: pytest.MonkeyPatch) -> WeightTransfer:
    FakeCUDA(monkeypatch)
    return IPCTransfer()


def nccl_way(worker: FakeWorker, monkeypatch: pytest.MonkeyPatch) -> WeightTransfer:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    FakeEngine.worker = worker
    modules = {
        "nccl_engine": SimpleNamespace(NCCLTrainerInitInfo=SimpleNamespace),
        "factory": SimpleNamespace(
            WeightTransferTrainerFactory=SimpleNamespace(
                trainer_init=lambda begin, client, source: FakeEngine(begin, client, source)
            )
        ),
        "base": SimpleNamespace(
            WeightSource=object,
            ParamMeta=lambda name, dtype, shape: SimpleNamespace(
                name=name, dtype=dtype, shape=shape
            ),
        ),
    }
    monkeypatch.setattr(nccl, "_import_vllm", lambda: modules.__getitem__)
    return NCCLTransfer()


MakeWay = Callable[[FakeWorker, pytest.MonkeyPatch], WeightTransfer]


@pytest.fixture(autouse=True)
def _no_packed_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "pack_heads", lambda model: None)


@pytest.mark.parametrize("make", [file_way, ipc_way, nccl_way])
def test_what_is_sent_is_loaded_and_its_version_recorded(
    make: MakeWay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = FakeWorker(tmp_path)
    way, connection = make(worker, monkeypatch), FakeConnection(worker)
    assert worker.atlas_state()["version"] is None
    for version in (3, 4):
        sent = {name: tensor + version for name, tensor in TENSORS.items()}
        # Read once, one after the other, as a gathered model is.
        way.send(connection, iter(sent.items()), version, 5.0)  # type: ignore[arg-type]
        assert list(worker.loaded) == list(sent)
        for name, tensor in sent.items():
            assert worker.loaded[name].dtype == tensor.dtype
            assert torch.equal(worker.loaded[name], tensor)
        assert worker.atlas_state()["version"] == version
    way.close()


def test_nccl_uses_the_four_calls_and_one_group_for_all_updates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = FakeWorker(tmp_path)
    way, connection = nccl_way(worker, monkeypatch), FakeConnection(worker)
    for version in (1, 2):
        way.send(connection, TENSORS.items(), version, 5.0)  # type: ignore[arg-type]
    update = ["/start_weight_update", "/update_weights", "/finish_weight_update"]
    assert [path for path, _ in connection.calls] == [
        "/init_weight_transfer_engine",
        *update,
        *update,
    ]
    assert connection.calls[0][1] == {"init_info": {"world_size": 3}}


def test_a_handle_of_another_gpu_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = FakeWorker(tmp_path)
    way, connection = ipc_way(worker, monkeypatch), FakeConnection(worker)
    uuids = iter(["GPU-1", "GPU-1", "GPU-1", "GPU-2"])
    monkeypatch.setattr(
        "torch.cuda.get_device_properties", lambda device: SimpleNamespace(uuid=next(uuids))
    )
    with pytest.raises(AtlasError, match="lies on GPU GPU-1, and this worker is on GPU-2"):
        way.send(connection, TENSORS.items(), 1, 5.0)  # type: ignore[arg-type]
    assert worker.loaded == {}


@pytest.mark.parametrize("kind", [IPCTransfer, NCCLTransfer])
def test_ways_over_a_gpu_say_what_they_lack(kind: Callable[[], WeightTransfer]) -> None:
    with pytest.raises(AtlasError, match="use the way through a file"):
        kind()


def test_no_file_stays(tmp_path: Path) -> None:
    way, connection = FileTransfer(tmp_path), FakeConnection(FakeWorker(tmp_path / "none"))
    way.send(connection, TENSORS.items(), 1, 5.0)  # type: ignore[arg-type]
    with pytest.raises(AtlasError, match="no weights to send"):
        way.send(connection, [], 2, 5.0)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_in_the_precision_that_the_server_computes_in(tmp_path: Path) -> None:
    """Half the bytes, and rounded as the server would round them."""
    worker = FakeWorker(tmp_path)
    worker.model_config.dtype = torch.bfloat16
    FileTransfer(tmp_path).send(FakeConnection(worker), TENSORS.items(), 1, 5.0)  # type: ignore[arg-type]
    for name, tensor in TENSORS.items():
        assert worker.loaded[name].dtype == torch.bfloat16
        assert torch.equal(worker.loaded[name], tensor.to(torch.bfloat16))


@pytest.mark.parametrize(("free", "in_memory"), [(10**6, True), (200, False)])
def test_memory_without_room_is_not_written_to(
    free: int, in_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's /dev/shm has 64 MB by default."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    folders: list[Path] = []

    class Looking(FakeConnection):
        def workers(self, method: str, *arguments: Any, phase: str, deadline_s: float) -> Any:
            if method == "atlas_load_file":
                folders.append(Path(arguments[1]).parent)
            return super().workers(method, *arguments, phase=phase, deadline_s=deadline_s)

    memory = tmp_path / "memory"
    memory.mkdir()
    worker = FakeWorker(tmp_path)
    FileTransfer(memory=memory).send(Looking(worker), TENSORS.items(), 1, 5.0)  # type: ignore[arg-type]
    assert folders == [memory if in_memory else Path(tempfile.gettempdir())]
    assert worker.atlas_state()["version"] == 1
