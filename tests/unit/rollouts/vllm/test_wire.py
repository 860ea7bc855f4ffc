"""What goes over the wire, word for word."""

from __future__ import annotations

from typing import Any

import pytest

from atlas.errors import AtlasError
from atlas.rollouts.generator import Sampling
from atlas.rollouts.vllm.wire import (
    COMPLETIONS_DIALECT,
    GENERATE_DIALECT,
    Sampled,
    SampleRequest,
    UnusableAnswer,
    check_sampling,
    read_samples,
    read_scores,
    scoring_body,
)

NAN = float("nan")
WARM = Sampling(max_new_tokens=9, temperature=0.7, top_p=0.9, top_k=5, min_p=0.1)
ASK = SampleRequest(prompt=[5, 6], sampling=WARM, limit=7, num_samples=2, seed=11, end_ids=(1, 3))


def choice(index: int, **changes: Any) -> dict[str, Any]:
    return {
        "index": index,
        "finish_reason": "length",
        "token_ids": [8, index],
        "logprobs": {"content": [{"logprob": -1.0}, {"logprob": -0.5}]},
        "weight_versions": [{"version": "3"}, {"version": "4"}],
        **changes,
    }


def test_everything_that_shapes_a_sample_is_in_the_body() -> None:
    body = GENERATE_DIALECT.body(ASK, "policy")
    assert body == {
        "model": "policy",
        "token_ids": [5, 6],
        "sampling_params": {
            "n": 2,
            "max_tokens": 7,
            "temperature": 0.7,
            "top_p": 0.9,
            "top_k": 5,
            "min_p": 0.1,
            "repetition_penalty": 1.0,
            "logprobs": 0,
            "stop_token_ids": [1, 3],
            "skip_special_tokens": True,
            "seed": 11,
            "detokenize": False,
        },
    }
    other = COMPLETIONS_DIALECT.body(ASK, "policy")
    assert (other["prompt"], other["return_token_ids"], other["seed"]) == ([5, 6], True, 11)


def test_stop_texts_need_the_servers_own_decoding() -> None:
    stopping = Sampling(max_new_tokens=9, stop=("\n\n",))
    params = GENERATE_DIALECT.body(SampleRequest(prompt=[5], sampling=stopping, limit=9), "policy")[
        "sampling_params"
    ]
    assert (params["stop"], params["detokenize"]) == (["\n\n"], True)
    assert "seed" not in params


def test_samples_come_back_in_order_with_the_versions_of_their_weights() -> None:
    found = read_samples(GENERATE_DIALECT, {"choices": [choice(1), choice(0)]}, ASK)
    assert found[1] == Sampled(
        token_ids=(8, 1), logprobs=(-1.0, -0.5), finish_reason="length", versions=("3", "4")
    )
    assert found[0].token_ids == (8, 0)


def test_the_endpoint_of_openai_gives_the_same_without_versions() -> None:
    given = choice(0, logprobs={"token_logprobs": [-1.0, -0.5]})
    ask = SampleRequest(prompt=[5], sampling=WARM, limit=7)
    (found,) = read_samples(COMPLETIONS_DIALECT, {"choices": [given]}, ask)
    assert (found.logprobs, found.versions) == ((-1.0, -0.5), ())


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"choices": [choice(0)]},
        {"choices": [choice(0), choice(1, finish_reason="abort")]},
        {"choices": [choice(0), choice(1, logprobs=None)]},
        {"choices": [choice(0), choice(1, token_ids=[8])]},
        {"choices": [choice(0), choice(1, token_ids=[8, None])]},
        {"choices": [choice(0), choice(1, token_ids=["8", 1])]},
        {"choices": [choice(0), choice(1, logprobs={"content": [{"logprob": None}] * 2})]},
        {"choices": [choice(0), choice(1, logprobs={"content": [{"logprob": NAN}] * 2})]},
        {"choices": [choice(0), choice(1, token_ids=[], logprobs={"content": []})]},
    ],
)
def test_half_an_answer_is_none(answer: dict[str, Any]) -> None:
    with pytest.raises(UnusableAnswer):
        read_samples(GENERATE_DIALECT, answer, ASK)


def test_greedy_samples_are_asked_for_once_and_repeated() -> None:
    """vLLM refuses to sample greedily more than once."""
    ask = SampleRequest(
        prompt=[5], sampling=Sampling(max_new_tokens=9), limit=7, num_samples=3, seed=1
    )
    params = GENERATE_DIALECT.body(ask, "policy")["sampling_params"]
    assert params["n"] == 1
    assert "seed" not in params
    found = read_samples(GENERATE_DIALECT, {"choices": [choice(0)]}, ask)
    assert [one.token_ids for one in found] == [(8, 0)] * 3


def test_a_temperature_that_the_server_would_change_is_refused() -> None:
    check_sampling(Sampling(max_new_tokens=1))
    check_sampling(Sampling(max_new_tokens=1, temperature=0.01))
    with pytest.raises(AtlasError, match=r"temperature 0\.001 is too low"):
        check_sampling(Sampling(max_new_tokens=1, temperature=0.001))


def test_scores_are_those_of_the_given_tokens() -> None:
    body = scoring_body((5, 6, 7), "policy")
    assert (body["token_ids"], body["sampling_params"]["prompt_logprobs"]) == ([5, 6, 7], 0)
    scored = [None, {"9": {"logprob": -0.1}, "6": {"logprob": -2.0}}, {"7": {"logprob": -3.0}}]
    assert read_scores({"prompt_logprobs": scored}, (5, 6, 7)) == (-2.0, -3.0)
    with pytest.raises(UnusableAnswer):
        read_scores({"prompt_logprobs": scored}, (5, 6, 8))
    # -9999 is what vLLM sends where it has none, or a NaN.
    for none in (None, -9999.0, NAN):
        scored[1] = {"6": {"logprob": none}}
        with pytest.raises(UnusableAnswer, match="no numbers"):
            read_scores({"prompt_logprobs": scored}, (5, 6, 7))
