"""The engine on servers: every request answered once, whatever the servers do meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from tests.unit.rollouts.fake_vllm import END, FakeVLLM, after, fake_vllm
from tests.unit.tiny_models import tiny_tokenizer

from atlas.errors import AtlasError
from atlas.rollouts.generator import Sampling
from atlas.rollouts.vllm.engine import VLLMGenerator, require_versions
from atlas.rollouts.vllm.pool import ServerPool
from atlas.rollouts.vllm.server import VLLMServer
from atlas.types import Completion

PROMPTS = [[10 + i, 5] for i in range(12)]
WARM = Sampling(max_new_tokens=8, temperature=0.7)


@contextmanager
def engine(
    *fakes: FakeVLLM, timeout_s: float = 20.0, version: int | None = 0, **settings: Any
) -> Iterator[VLLMGenerator]:
    pool = ServerPool([VLLMServer(fake.url, timeout_s=timeout_s) for fake in fakes], **settings)
    try:
        pool.open()
        yield VLLMGenerator(
            pool, tiny_tokenizer(), end_ids=[END], seeded=True, policy_version=version
        )
    finally:
        pool.close()


def check(groups: list[list[Completion]], version: int = 0) -> None:
    """Each prompt has its own completions, once."""
    assert [[one.token_ids for one in group] for group in groups] == [
        [(prompt[0], sample, END) for sample in range(2)] for prompt in PROMPTS
    ]
    assert {one.policy_version for group in groups for one in group} == {version}


def test_groups_are_one_request_each_and_seeds_are_their_own() -> None:
    with fake_vllm() as fake, engine(fake) as policy:
        check(policy.generate(PROMPTS, WARM, num_samples=2, seed=3))
        assert len(fake.asked) == len(PROMPTS)
        seeds = {body["sampling_params"]["seed"] for body in fake.asked}
        assert len(seeds) == len(PROMPTS)
        fake.asked.clear()
        policy.generate(PROMPTS[4:], WARM, num_samples=2, seed=3, first_place=4)
        assert {body["sampling_params"]["seed"] for body in fake.asked} < seeds


def test_no_more_requests_are_under_way_than_allowed() -> None:
    def slow(number: int, body: dict[str, Any]) -> None:
        after(0.02)

    with fake_vllm(before=slow) as fake, engine(fake, max_in_flight=3) as policy:
        check(policy.generate(PROMPTS, WARM, num_samples=2))
        assert fake.most_at_once == 3


def test_servers_share_the_work() -> None:
    def slow(number: int, body: dict[str, Any]) -> None:
        after(0.02)

    with fake_vllm(before=slow) as one, fake_vllm(before=slow) as other:
        with engine(one, other) as policy:
            check(policy.generate(PROMPTS, WARM, num_samples=2))
        assert len(one.asked) == len(other.asked) == 6


@pytest.mark.parametrize("status", [500, 503, 429, 0], ids=["500", "503", "429", "hang-up"])
def test_what_a_server_loses_is_asked_again_and_counted_once(status: int) -> None:
    def failing(number: int, body: dict[str, Any]) -> int | None:
        return status if number in (2, 5, 6) else None

    with fake_vllm(before=failing) as fake, engine(fake) as policy:
        check(policy.generate(PROMPTS, WARM, num_samples=2))
        assert len(fake.asked) == len(PROMPTS) + 3
        assert policy.pool.resent == 3


def test_a_server_that_fails_always_stops_the_run_with_its_words() -> None:
    with (
        fake_vllm(before=lambda number, body: 500) as fake,
        engine(fake, max_retries=1) as policy,
        pytest.raises(AtlasError, match=r"after 2 tries: it answered 500.*as the test says"),
    ):
        policy.generate(PROMPTS[:1], WARM)


def test_a_deadline_that_passes_is_named() -> None:
    def hanging(number: int, body: dict[str, Any]) -> None:
        after(0.5)

    with (
        fake_vllm(before=hanging) as fake,
        engine(fake, timeout_s=0.1, max_retries=1) as policy,
        pytest.raises(AtlasError, match=r"no answer within 0.1 s.*request_timeout"),
    ):
        policy.generate(PROMPTS[:1], WARM)


def test_a_refusal_is_final_and_quoted() -> None:
    with (
        fake_vllm(before=lambda number, body: 400) as fake,
        engine(fake) as policy,
        pytest.raises(AtlasError, match=r"with 400.*as the test says"),
    ):
        policy.generate(PROMPTS[:1], WARM)
    assert len(fake.asked) == 1


def test_a_server_that_comes_back_with_other_weights_is_seen_by_its_answers() -> None:
    """It restarted between two requests: nobody saw it die, and its answers look like any other."""
    revived: list[str] = []

    def restart(number: int, body: dict[str, Any]) -> None:
        if number == 4:
            fake.version = "default"

    def revive(server: VLLMServer, why: str) -> None:
        revived.append(why)
        fake.version = "0"

    with fake_vllm(before=restart) as fake, engine(fake, max_in_flight=1, revive=revive) as policy:
        check(policy.generate(PROMPTS, WARM, num_samples=2))
    assert revived == ["the server sampled with the weights of version default, not 0"]


def test_a_server_is_brought_back_once_for_all_who_lost_it() -> None:
    revived: list[str] = []
    both = threading.Barrier(2)

    def dead(number: int, body: dict[str, Any]) -> int | None:
        if number > 2:
            return None
        both.wait(timeout=20)  # so that both are lost before the first of them is heard of
        return 500

    with (
        fake_vllm(before=dead) as fake,
        engine(fake, revive=lambda server, why: revived.append(why)) as policy,
    ):
        check(policy.generate(PROMPTS, WARM, num_samples=2))
    assert len(revived) == 1


def test_weights_may_be_replaced_under_way_only_by_newer_ones() -> None:
    with fake_vllm(version="4") as fake, engine(fake, version=3, max_retries=0) as policy:
        with pytest.raises(AtlasError, match="version 4, not 3"):
            policy.generate(PROMPTS, WARM)
        policy.newest_version = 4
        check(policy.generate(PROMPTS, WARM, num_samples=2), version=4)
        fake.version = "2"
        with pytest.raises(AtlasError, match="version 2, not 3"):
            policy.generate(PROMPTS, WARM)


def test_a_frozen_model_may_be_served_by_anyone() -> None:
    with fake_vllm(version="default") as fake, engine(fake, version=None) as student:
        check(student.generate(PROMPTS, WARM, num_samples=2))
    with fake_vllm(scale_out=False) as fake, engine(fake, version=None) as student:
        with pytest.raises(AtlasError, match="atlas serve"):
            require_versions(student.pool)
        assert fake.url in student.pool.servers[0].url


def test_no_server_at_an_address_says_what_to_do() -> None:
    with ExitStack() as stack:
        fake = stack.enter_context(fake_vllm())
        fake.url = "http://127.0.0.1:9"
        with pytest.raises(AtlasError, match=r"no server at http://127.0.0.1:9.*atlas serve"):
            stack.enter_context(engine(fake))
