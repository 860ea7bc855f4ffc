"""One process: every exchange is free, and says the same. Several: tests/distributed."""

from __future__ import annotations

import pytest

from atlas.errors import AtlasError, RankError
from atlas.parallel.distributed import ALONE, Ranks, agreed, gpu_of, is_lost, joined
from atlas.parallel.world import World
from atlas.run.stopping import StopRequest


def test_alone_every_exchange_gives_what_was_given() -> None:
    assert ALONE.gather(3, "a value") == [3]
    assert ALONE.broadcast("x", "a value") == "x"
    assert ALONE.sums({"a": 1.0}, "sums") == {"a": 1.0}
    assert ALONE.maxima({"a": 1.0}, "maxima") == {"a": 1.0}
    assert ALONE.share([1, 2, 3]) == (0, [1, 2, 3])
    assert ALONE.waited == 0


def test_alone_an_error_is_what_it_is() -> None:
    def refuse() -> None:
        raise AtlasError("no")

    with pytest.raises(AtlasError, match=r"^no$") as caught, ALONE.own_errors():
        ALONE.on_main(refuse, "work")
    assert type(caught.value) is AtlasError


@pytest.mark.parametrize(("num_items", "size"), [(8, 2), (7, 3), (2, 4), (0, 2)])
def test_shares_are_neighbours_and_hold_every_item_once(num_items: int, size: int) -> None:
    items = list(range(num_items))
    shares = [Ranks(World(rank=rank, size=size)).share(items) for rank in range(size)]
    assert [item for _, share in shares for item in share] == items
    assert all(list(share) == items[first : first + len(share)] for first, share in shares)
    assert max(len(share) for _, share in shares) <= -(-num_items // size)


def test_an_error_of_one_rank_says_which_rank_it_is() -> None:
    second = Ranks(World(rank=1, size=2, local_rank=1, local_size=2))
    with pytest.raises(RankError, match=r"^rank 1: the disk is full$"), second.own_errors():
        raise AtlasError("the disk is full")


def test_only_errors_of_a_connection_mean_that_a_rank_is_lost() -> None:
    second = Ranks(World(rank=1, size=2, local_rank=1, local_size=2), timeout=7)
    with (
        pytest.raises(RankError, match=r"rank 1 of 2 lost the others at 'update of step 3': Conn"),
        second.phase("update of step 3"),
    ):
        raise RuntimeError("[../gloo/pair.cc:534] Connection closed by peer [127.0.0.1]:1234")
    with pytest.raises(RuntimeError, match="shapes"), second.phase("update of step 3"):
        raise RuntimeError("shapes differ")
    assert not is_lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_alone_a_stop_is_heard_at_once() -> None:
    stop = StopRequest()
    assert agreed(ALONE, stop) is stop


def test_what_the_doctor_asks_of_one_rank_ends_all_with_one_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rank 0 alone has the metrics; rank 1 hears of it where both settle."""
    second, own = Ranks(World(rank=1, size=2, local_rank=1, local_size=2)), StopRequest()
    of_first = StopRequest()
    agreed(Ranks(World(rank=0, size=2, local_rank=0, local_size=2)), of_first).ask("pause")
    asked = of_first.asked, of_first.doctor
    monkeypatch.setattr(Ranks, "gather", lambda self, mine, what: [asked, mine])
    stop = agreed(second, own)
    assert not stop.asked
    stop.settle()
    assert stop.asked
    assert (own.how, own.exit_code) == ("paused by the doctor", 1)


def test_a_group_of_one_is_made_where_an_engine_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with joined(10, needs_group=True) as ranks:
        assert ranks.gather(5, "a value") == [5]
    with joined(10) as ranks:
        assert (ranks.size, ranks.rank) == (1, 0)


def test_each_process_has_the_gpu_of_its_number_or_the_only_one_that_it_is_shown() -> None:
    second = World(rank=1, size=2, local_rank=1, local_size=2)
    assert gpu_of(second, 2, {}) == 1
    assert gpu_of(second, 1, {}) == 0  # SLURM with --gpus-per-task=1
    with pytest.raises(AtlasError, match="2 processes on this machine, but 1 GPUs"):
        gpu_of(second, 1, {"TORCHELASTIC_RUN_ID": "none"})
    with pytest.raises(AtlasError, match="but 0 GPUs"):
        gpu_of(second, 0, {})
