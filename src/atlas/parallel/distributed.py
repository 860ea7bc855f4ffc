"""The processes that train together: what they tell one another, and how they lose one another.

Input: the environment that torchrun makes (world.py). Output: `Ranks`, on which every exchange has
a name and a deadline. Alone, every exchange is free.

    gather      every rank gives a value, every rank gets all of them
    broadcast   rank 0 gives a value, every rank gets it
    on_main     rank 0 does something, every rank gets what came of it, or its error
    meet        no rank goes on before all have come

They go over gloo, on the CPU, also where gradients go over NCCL: gloo knows who is missing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from atlas.errors import AtlasError, OutageError, RankError
from atlas.machine.accelerator import name_accelerator
from atlas.parallel.world import World, world
from atlas.run.stopping import StopRequest

T = TypeVar("T")

_LOST = (
    "gloo",
    "nccl",
    "connection closed",
    "connection reset",
    "timed out",
    "timeout",
    "monitoredbarrier",
    "broken pipe",
)
"""Words in the errors of collectives whose other end is gone."""


class SharedError(AtlasError):
    """What rank 0 met, raised on every rank."""


class Ranks:
    """This process among those that train together.

    Args:
        timeout: Seconds that it waits for the others at one place.
        control: The group that values are exchanged in; None for one process.
        device: Of the tensors that it computes with.
    """

    def __init__(
        self,
        place: World,
        *,
        timeout: float = 1800.0,
        control: dist.ProcessGroup | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.rank, self.size, self.is_main = place.rank, place.size, place.is_main
        self._place = place
        self.device = device or torch.device("cpu")
        self.waited = 0.0
        """Seconds that this rank has waited for others in `meet` and in exchanges."""
        self._timeout = timeout
        self._control = control

    def beside(self) -> Ranks:
        """Return the same ranks for a thread of its own; all of them make it at the same place."""
        if self.size == 1:
            return self
        group = dist.new_group(timeout=timedelta(seconds=self._timeout), backend="gloo")
        assert isinstance(group, dist.ProcessGroup)  # every rank is in it
        return Ranks(self._place, timeout=self._timeout, control=group, device=self.device)

    def gather(self, value: T, what: str) -> list[T]:
        """Return every rank's value, in the order of ranks.

        Raises:
            RankError: Another rank didn't come within the deadline, or is gone.
        """
        if self.size == 1:
            return [value]
        self.meet(what)
        found: list[Any] = [None] * self.size
        with self._waiting(what):
            dist.all_gather_object(found, value, group=self._control)
        return found

    def broadcast(self, value: T, what: str) -> T:
        """Return rank 0's value; those of the others are not looked at.

        Raises:
            RankError: As for `gather`.
        """
        if self.size == 1:
            return value
        self.meet(what)
        held: list[Any] = [value if self.is_main else None]
        with self._waiting(what):
            dist.broadcast_object_list(held, src=0, group=self._control)
        return held[0]

    def broadcast_tensor(self, tensor: Tensor, what: str) -> None:
        """Give every rank the values of rank 0's tensor, in place.

        Args:
            tensor: In CPU memory, contiguous, everywhere of one shape and dtype.

        Raises:
            RankError: As for `gather`.
        """
        if self.size > 1 and tensor.numel():
            with self._waiting(what):
                # As bytes, since gloo doesn't know every dtype.
                dist.broadcast(tensor.view(-1).view(torch.uint8), src=0, group=self._control)

    def on_main(self, work: Callable[[], T], what: str) -> T:
        """Let rank 0 do something; return what came of it on every rank.

        Raises:
            AtlasError: Rank 0's own, on every rank.
            RankError: As for `gather`.
        """
        if self.size == 1:
            return work()
        result: T | None = None
        refusal: tuple[str, int] | None = None
        if self.is_main:
            try:
                result = work()
            except AtlasError as error:
                refusal = str(error), error.exit_code
        result, refusal = self.broadcast((result, refusal), what)
        if refusal is not None:
            raise SharedError(*refusal)
        return result  # type: ignore[return-value]

    def meet(self, what: str) -> None:
        """Wait until every rank is here; afterwards all know that all are alive.

        Raises:
            RankError: As for `gather`; on rank 0 it names those who are missing.
        """
        if self.size == 1:
            return
        with self._waiting(what):
            dist.monitored_barrier(
                self._control, timeout=timedelta(seconds=self._timeout), wait_all_ranks=True
            )

    def sums(self, values: Mapping[str, float], what: str) -> dict[str, float]:
        """Return the sum over ranks of each named value; a rank may lack some."""
        found = self.gather(dict(values), what)
        names = dict.fromkeys(name for one in found for name in one)
        return {name: sum(one.get(name, 0.0) for one in found) for name in names}

    def maxima(self, values: Mapping[str, float], what: str) -> dict[str, float]:
        """Return the largest of each named value; a rank may lack some."""
        found = self.gather(dict(values), what)
        names = dict.fromkeys(name for one in found for name in one)
        return {name: max(one[name] for one in found if name in one) for name in names}

    def share(self, items: Sequence[T]) -> tuple[int, Sequence[T]]:
        """Return this rank's neighbours among the items, and the place of the first of them."""
        first = len(items) * self.rank // self.size
        return first, items[first : len(items) * (self.rank + 1) // self.size]

    @contextlib.contextmanager
    def phase(self, what: str) -> Iterator[None]:
        """Name what this rank is about, in case that it loses the others in it.

        Raises:
            RankError: It lost them, or met a mistake that the others didn't meet.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size > 1 and is_lost(error):
                raise self._lost(what, error) from error
            raise

    @contextlib.contextmanager
    def own_errors(self) -> Iterator[None]:
        """Mark an error that this rank met by itself, so that it is told though it isn't rank 0."""
        try:
            yield
        except (RankError, SharedError):
            raise
        except AtlasError as error:
            if self.size == 1:
                raise
            raise RankError(f"rank {self.rank}: {error}", error.exit_code) from error

    @contextlib.contextmanager
    def _waiting(self, what: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        except RuntimeError as error:
            raise self._lost(what, error) from error
        finally:
            self.waited += time.monotonic() - started

    def _lost(self, what: str, error: RuntimeError) -> RankError:
        return RankError(
            f"rank {self.rank} of {self.size} lost the others at '{what}': {_reason(error)}. "
            f"One of them has ended, hangs, or needs more than phase_timeout={self._timeout:g} "
            "seconds; look at the first error above, here or on the other "
            "machines. The same command goes on from the last checkpoint",
            OutageError.exit_code,
        )


ALONE = Ranks(World())
"""One process."""


class AgreedStop(StopRequest):
    """A request to stop that all ranks hear of at the same place: in `settle`."""

    def __init__(self, ranks: Ranks, own: StopRequest) -> None:
        super().__init__()
        self._ranks = ranks
        self._own = own

    def ask(self, doctor: Literal["pause", "stop"]) -> None:
        """Ask on this rank; the others hear of it in `settle`."""
        self._own.ask(doctor)

    def settle(self) -> None:
        """Ask every rank whether it was asked to stop; then all of them are."""
        own = self._own
        asked = self._ranks.gather((own.asked, own.doctor), "whether to stop")
        self.asked = any(stop for stop, _ in asked)
        for _, doctor in asked:
            own.doctor = own.doctor or doctor


def agreed(ranks: Ranks, stop: StopRequest) -> StopRequest:
    """Return a request to stop that means the same on all ranks."""
    return stop if ranks.size == 1 else AgreedStop(ranks, stop)


@contextlib.contextmanager
def joined(timeout: float = 1800.0, *, needs_group: bool = False) -> Iterator[Ranks]:
    """Meet the other processes, for as long as the block runs; those who have met stay together.

    Args:
        timeout: Seconds that each waits for the others at one place.
        needs_group: Make a group of one process, for engines that can't do without.

    Raises:
        AtlasError: The others can't be met, or this machine has fewer GPUs than processes.
    """
    place = world()
    device = _device(place)
    met = dist.is_initialized()
    if place.size == 1 and not (needs_group or met):
        yield Ranks(place, device=device)
        return
    # Tensors in CPU memory are exchanged too: what is offloaded, and whole copies there.
    backend = "gloo" if device.type == "cpu" else f"cpu:gloo,{device.type}:nccl"
    wait = timedelta(seconds=timeout)
    try:
        if met:
            pass
        elif place.size == 1 and "MASTER_ADDR" not in os.environ:
            store = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage]
            dist.init_process_group(backend, store=store, rank=0, world_size=1)
        else:
            dist.init_process_group(backend, timeout=wait)
        control = dist.new_group(timeout=wait, backend="gloo")
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise RankError(
            f"rank {place.rank} of {place.size} can't meet the others at {where}: {_reason(error)}"
            ". Check --master_addr, that the port is open, and GLOO_SOCKET_IFNAME (the network "
            "interface, as in eth0)",
            OutageError.exit_code,
        ) from error
    assert isinstance(control, dist.ProcessGroup)  # every rank is in it
    yield Ranks(place, timeout=timeout, control=control, device=device)
    if not met:
        # Not after an error: this would wait for ranks that no longer come.
        dist.destroy_process_group()


def is_lost(error: BaseException) -> bool:
    """Tell whether an error says that another process is gone or late."""
    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(word in text for word in _LOST)


def _device(place: World) -> torch.device:
    if not torch.cuda.is_available():
        name_accelerator()
        return torch.device("cpu")
    own = gpu_of(place, torch.cuda.device_count())
    torch.cuda.set_device(own)
    return torch.device("cuda", own)


def gpu_of(place: World, visible: int, environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of this process's GPU among those that it can see.

    A scheduler that starts each process by itself (SLURM with ``--gpus-per-task=1``) may show it
    its own only. torchrun shows all processes of a machine the same.

    Raises:
        AtlasError: There are fewer than processes.
    """
    if visible == 1 and "TORCHELASTIC_RUN_ID" not in environment:
        return 0
    if place.local_size > visible:
        raise AtlasError(
            f"{place.local_size} processes on this machine, but {visible} GPUs; start one process "
            "a GPU"
        )
    return place.local_rank


def _reason(error: Exception) -> str:
    """Return the first line of an error, without the place in the library that it comes from."""
    line = next((part for part in str(error).splitlines() if part.strip()), type(error).__name__)
    return line.rpartition("] ")[2].strip().rstrip(".") or line
