"""Weights over NCCL: from the trainer's GPU to the server's, on one machine or between two.

vLLM's own trainer-side engine does it. It is part of vLLM, so the trainer's interpreter must have
vLLM too.
"""

from __future__ import annotations

import importlib
import socket
from collections.abc import Iterator
from typing import Any

import torch

from atlas.errors import AtlasError
from atlas.serve.checks import free_port
from atlas.serve.connection import Connection
from atlas.serve.transfer.protocol import NamedTensors

PHASE = "transfer of weights over NCCL"
START_PHASE = "start of the transfer over NCCL"


class NCCLTransfer:
    """The way for a trainer and a server on different GPUs.

    Raises:
        AtlasError: The trainer's interpreter has no vLLM, or there is no GPU here.
    """

    def __init__(self) -> None:
        self._vllm = _import_vllm()
        if not torch.cuda.is_available():
            raise AtlasError(
                "weights can't go over NCCL: there is no GPU here; use the way through a file"
            )
        self._weights = UpdateTensors()
        self._engine: Any = None

    def send(
        self, connection: Connection, tensors: NamedTensors, version: int, deadline_s: float
    ) -> None:
        """Broadcast all tensors, then record their version."""
        rpc = EngineCalls(connection, deadline_s)
        # vLLM wants to know all shapes before the first tensor, so they are all held until it is
        # done; those of an unsharded model are its parameters, and take no further memory.
        self._weights.tensors = [(name, tensor.detach()) for name, tensor in tensors]
        if self._engine is None:
            self._engine = self._begin(connection, rpc, deadline_s)
        try:
            self._engine.send_weights()
        finally:
            self._weights.tensors = []
        connection.workers("atlas_mark", version, phase=PHASE, deadline_s=deadline_s)

    def close(self) -> None:
        """Leave the group of the two."""
        if self._engine is not None:
            self._engine.shutdown()
            self._engine = None

    def _begin(self, connection: Connection, rpc: EngineCalls, deadline_s: float) -> Any:
        answer = connection.get("/get_world_size", phase=START_PHASE, deadline_s=deadline_s)
        address = own_address(connection.host)
        begin = self._vllm("nccl_engine").NCCLTrainerInitInfo(
            master_address=address,
            master_port=free_port(address),
            world_size=1 + answer["world_size"],
            rank=0,
        )
        factory = self._vllm("factory").WeightTransferTrainerFactory
        return factory.trainer_init(begin, client=rpc, source=_source(self._vllm, self._weights))


class UpdateTensors:
    """The tensors of the update in progress, as vLLM reads them: shapes first, then all of them."""

    def __init__(self) -> None:
        self.tensors: list[tuple[str, torch.Tensor]] = []

    def shapes(self) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        """Return name, dtype and shape of each."""
        return [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self.tensors]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        return iter(self.tensors)


class EngineCalls:
    """The four calls that vLLM's engine makes of the server, over the guarded connection.

    Args:
        connection: With the token, which vLLM's own client doesn't know.
    """

    def __init__(self, connection: Connection, deadline_s: float) -> None:
        self._connection = connection
        self._deadline_s = deadline_s

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Have the workers join the group."""
        self._post("/init_weight_transfer_engine", {"init_info": init_info}, START_PHASE)

    def start_weight_update(self) -> None:
        """Have the workers expect weights."""
        self._post("/start_weight_update", None, PHASE)

    def update_weights(self, update_info: Any) -> None:
        """Have the workers receive them, while the trainer sends."""
        self._post("/update_weights", {"update_info": update_info}, PHASE)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Have the workers go over to them."""
        body = {} if weight_version is None else {"weight_version": weight_version}
        self._post("/finish_weight_update", body, PHASE)

    def _post(self, path: str, body: Any, phase: str) -> None:
        self._connection.post(path, body, phase=phase, deadline_s=self._deadline_s)


def own_address(host: str) -> str:
    """Return the address of this machine that ``host`` reaches."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Sends nothing: a datagram socket that is connected knows its own end.
        probe.connect((host, 9))
        return probe.getsockname()[0]


def _import_vllm() -> Any:
    """Return a function that imports a module of vLLM's weight transfer."""
    package = "vllm.distributed.weight_transfer"
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise AtlasError(
            "weights can't go over NCCL: vLLM isn't installed beside the trainer "
            f"({error}); install it there, or use the way through a file"
        ) from error
    return lambda name: importlib.import_module(f"{package}.{name}")


def _source(vllm: Any, weights: UpdateTensors) -> Any:
    """Return the weights as vLLM's ``WeightSource``, whose class is known only where vLLM is."""
    base = vllm("base")

    class Source(base.WeightSource):
        def metadata(self) -> list[Any]:
            return [base.ParamMeta(*described) for described in weights.shapes()]

        def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
            return iter(weights)

    return Source()
