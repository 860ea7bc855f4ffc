"""What goes to a vLLM server and what comes back: token ids both ways, nothing is tokenised twice.

Input: one prompt and how it is sampled. Output: the body of a request; and from its answer, the
samples. Two endpoints speak: vLLM's own, whose answers say which weights sampled each token, and
the OpenAI one, which every server has.

Example: ``{"token_ids": [5, 6], "sampling_params": {"n": 2, "logprobs": 0, …}}`` is answered by
``{"choices": [{"token_ids": [9, 1], "logprobs": {…}, "weight_versions": [{"version": "3"}]}, …]}``
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from atlas.errors import AtlasError
from atlas.rollouts.generator import Prompt, Sampling
from atlas.types import FinishReason

GENERATE: Final = "/inference/v1/generate"
COMPLETIONS: Final = "/v1/completions"
LEAST_TEMPERATURE: Final = 0.01
"""vLLM silently samples at this temperature where it is asked for a lower one that isn't 0."""
_NOTHING: Final = -9000.0
"""vLLM sends -9999 for a log-probability that it doesn't have, and for NaN."""


class UnusableAnswer(Exception):
    """An answer that isn't one; worth asking again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleRequest:
    """One request: a prompt, completed ``num_samples`` times."""

    prompt: Prompt
    sampling: Sampling
    limit: int
    """Most tokens of a completion: no more than the window has room for."""
    num_samples: int = 1
    seed: int | None = None
    """None: whatever chance the server has."""
    end_ids: tuple[int, ...] = ()
    """Tokens that end a completion, besides those that the server knows of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """One completion as the server sent it; T tokens."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    versions: tuple[str, ...] = ()
    """Of the weights that sampled it, in order; empty where the endpoint doesn't say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """How one endpoint is spoken to."""

    path: str
    body: Callable[[SampleRequest, str], dict[str, Any]]
    read: Callable[[Mapping[str, Any]], Sampled]
    """Of one choice."""


def check_sampling(sampling: Sampling) -> None:
    """Refuse what a vLLM server would do differently without saying so.

    Raises:
        AtlasError: The temperature is above 0 but below `LEAST_TEMPERATURE`.
    """
    if 0 < sampling.temperature < LEAST_TEMPERATURE:
        raise AtlasError(
            f"temperature {sampling.temperature:g} is too low for a vLLM server, which samples at "
            f"{LEAST_TEMPERATURE} instead; set 0 for greedy, or at least {LEAST_TEMPERATURE}"
        )


def _distinct(ask: SampleRequest) -> int:
    """Return how many to ask for: greedy samples are equal, and vLLM refuses to repeat them."""
    return ask.num_samples if ask.sampling.temperature else 1


def _sampling_params(ask: SampleRequest) -> dict[str, Any]:
    sampling = ask.sampling
    params: dict[str, Any] = {
        "n": _distinct(ask),
        "max_tokens": ask.limit,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "logprobs": 0,
        "stop_token_ids": list(ask.end_ids),
        "skip_special_tokens": True,
    }
    if sampling.stop:
        params["stop"] = list(sampling.stop)
    if ask.seed is not None and sampling.temperature:
        params["seed"] = ask.seed
    return params


def _generate_body(ask: SampleRequest, model: str) -> dict[str, Any]:
    # Text is needed by stop strings only; here it is decoded by the trainer's own tokenizer.
    params = {**_sampling_params(ask), "detokenize": bool(ask.sampling.stop)}
    return {"model": model, "token_ids": list(ask.prompt), "sampling_params": params}


def _completions_body(ask: SampleRequest, model: str) -> dict[str, Any]:
    params = _sampling_params(ask)
    return {"model": model, "prompt": list(ask.prompt), "return_token_ids": True, **params}


def _read_generated(choice: Mapping[str, Any]) -> Sampled:
    content = choice["logprobs"]["content"]
    return Sampled(
        token_ids=tuple(choice["token_ids"]),
        logprobs=tuple(token["logprob"] for token in content),
        finish_reason=_finish_reason(choice),
        versions=tuple(str(span["version"]) for span in choice.get("weight_versions") or ()),
    )


def _read_completed(choice: Mapping[str, Any]) -> Sampled:
    return Sampled(
        token_ids=tuple(choice["token_ids"]),
        logprobs=tuple(choice["logprobs"]["token_logprobs"]),
        finish_reason=_finish_reason(choice),
    )


GENERATE_DIALECT: Final = Dialect(path=GENERATE, body=_generate_body, read=_read_generated)
COMPLETIONS_DIALECT: Final = Dialect(path=COMPLETIONS, body=_completions_body, read=_read_completed)


def read_samples(dialect: Dialect, answer: Any, ask: SampleRequest) -> list[Sampled]:
    """Return the samples of an answer in their order.

    Raises:
        UnusableAnswer: There aren't ``num_samples`` whole completions in it.
    """
    try:
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        sampled = [dialect.read(choice) for choice in choices]
    except (KeyError, TypeError, IndexError) as error:
        raise UnusableAnswer(f"an answer without {error}") from None
    if len(sampled) != _distinct(ask):
        raise UnusableAnswer(f"{len(sampled)} completions instead of {_distinct(ask)}")
    for one in sampled:
        known = all(type(token) is int for token in one.token_ids)
        if not known or not _are_numbers(one.logprobs):
            raise UnusableAnswer("tokens or log-probabilities that are no numbers")
        if not one.token_ids or len(one.logprobs) != len(one.token_ids):
            raise UnusableAnswer(
                f"{len(one.logprobs)} log-probabilities of {len(one.token_ids)} tokens"
            )
    return sampled * (ask.num_samples // len(sampled))


def _finish_reason(choice: Mapping[str, Any]) -> FinishReason:
    reason = choice["finish_reason"]
    if reason not in ("stop", "length"):
        raise UnusableAnswer(f"the completion was ended by the server ({reason})")
    return reason


def scoring_body(token_ids: Sequence[int], model: str) -> dict[str, Any]:
    """Return the body of a request for the log-probabilities of given tokens, at temperature 1."""
    params = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0, "detokenize": False}
    return {"model": model, "token_ids": list(token_ids), "sampling_params": params}


def read_scores(answer: Any, token_ids: Sequence[int]) -> tuple[float, ...]:
    """Return the log-probability of every token but the first, which has none.

    Raises:
        UnusableAnswer: They aren't in the answer.
    """
    try:
        scored = answer["prompt_logprobs"][1:]
        found = tuple(
            scores[str(token)]["logprob"]
            for scores, token in zip(scored, token_ids[1:], strict=True)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UnusableAnswer(
            f"an answer without the log-probabilities of the prompt ({error})"
        ) from None
    if not _are_numbers(found):
        raise UnusableAnswer("log-probabilities of the prompt that are no numbers")
    return found


def _are_numbers(logprobs: Sequence[object]) -> bool:
    return all(
        isinstance(one, (int, float)) and not isinstance(one, bool) and _NOTHING < one < math.inf
        for one in logprobs
    )
