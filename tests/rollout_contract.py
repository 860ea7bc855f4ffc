"""What every rollout engine promises, as checks that take an engine; the same ones for all of them.

``tests/unit/rollouts`` runs them on the engine in this process, ``tests/serving`` on a real vLLM
server. The model is small, sharp (every prompt matters), and ends some completions and not others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from tests.unit.tiny_models import END, tiny_model, tiny_tokenizer
from transformers import PreTrainedModel

from atlas.errors import AtlasError
from atlas.machine.precision import computing
from atlas.models.passes.forward import logprobs
from atlas.rollouts.generator import Generator, Sampling
from atlas.types import Completion, Tokens

WINDOW = 1024
PROMPTS = [[5, 6, 7, 8, 9], [10], [11, 12, 13], [14, 15, 16, 17, 18, 19, 20], [21, 22], [23]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """An engine, and the model that it runs, which is what tells whether it is right."""

    engine: Generator
    model: PreTrainedModel
    version: int
    """What completions have to be stamped with."""
    autocast: bool = False
    """The model is trained, and so the engine computes, in bfloat16."""

    @property
    def rounding(self) -> float:
        """Largest difference of two computations of one log-probability, in nats."""
        return 0.3 if self.autocast else 1e-4


def contract_model(seed: int = 3) -> PreTrainedModel:
    """Return the model; heads of 32, which vLLM's kernels for CPUs insist on."""
    model = tiny_model(
        "llama",
        seed=seed,
        vocab_size=len(tiny_tokenizer()),
        hidden_size=64,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=WINDOW,
        initializer_range=0.25,
    )
    with torch.no_grad():
        model.get_input_embeddings().weight[END] *= 2.5  # often likely, often not
    return model


def _rows(subject: Subject, sampling: Sampling, **how: Any) -> list[Completion]:
    groups = subject.engine.generate(PROMPTS, sampling, **how)
    return [completion for group in groups for completion in group]


def _ids(rows: list[Completion]) -> list[tuple[int, ...]]:
    return [row.token_ids for row in rows]


def _logits(subject: Subject, row: Completion) -> torch.Tensor:
    """Raw logits before each of its tokens, [T, V]."""
    ids = torch.tensor([[*row.prompt_ids, *row.token_ids]])
    with torch.no_grad(), computing(subject.model.device, subject.autocast):
        logits: torch.Tensor = subject.model(input_ids=ids).logits[0].float()
    return logits[len(row.prompt_ids) - 1 : -1]


def _transformers_own(subject: Subject, prompt: list[int], row: Completion, **how: Any) -> None:
    """Its tokens are those of ``generate``, up to one that is as likely but for rounding."""
    model: Any = subject.model
    with computing(subject.model.device, subject.autocast):
        ids = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False, **how)
    expected = ids[0, len(prompt) :].tolist()
    if not subject.autocast:
        assert list(row.token_ids) == expected
    for place, (own, other) in enumerate(zip(row.token_ids, expected, strict=False)):
        if own != other:
            logits_V = _logits(subject, row)[place]
            assert abs(float(logits_V[own] - logits_V[other])) < 2 * subject.rounding
            return


def greedy_is_transformers_own(subject: Subject) -> None:
    rows = _rows(subject, Sampling(max_new_tokens=12))
    for prompt, row in zip(PROMPTS, rows, strict=True):
        assert row.prompt_ids == tuple(prompt)
        _transformers_own(subject, prompt, row)


def ends_are_kept_and_told(subject: Subject) -> None:
    rows = _rows(subject, Sampling(max_new_tokens=24, temperature=1.0), num_samples=4)
    for row in rows:
        ended = row.token_ids[-1] == END
        assert row.finish_reason == ("stop" if ended else "length")
        assert END not in row.token_ids[:-1]
        assert ended or row.num_tokens == 24
        assert row.policy_version == subject.version
        text = tiny_tokenizer().decode(list(row.token_ids), skip_special_tokens=True)
        assert row.text == text.strip()
    assert {row.finish_reason for row in rows} == {"stop", "length"}


def logprobs_are_the_trainers(subject: Subject) -> None:
    """At any temperature, whatever is cut or penalised: the whole distribution counts."""
    for sampling in (
        Sampling(max_new_tokens=10),
        Sampling(max_new_tokens=10, temperature=0.6, top_p=0.8),
        Sampling(max_new_tokens=10, temperature=1.4, top_k=5, min_p=0.05),
        Sampling(max_new_tokens=10, temperature=0.9, repetition_penalty=1.7),
    ):
        rows = _rows(subject, sampling, num_samples=3, seed=1)
        with torch.no_grad(), computing(subject.model.device, subject.autocast):
            fresh_BT = logprobs(
                subject.model,
                [Tokens.of(row.prompt_ids, row.token_ids) for row in rows],
                temperature=sampling.temperature or 1.0,
            ).logprobs_BT
        for row, fresh_T in zip(rows, fresh_BT, strict=True):
            found_T = torch.tensor(row.logprobs)
            torch.testing.assert_close(
                found_T, fresh_T[: row.num_tokens], rtol=0, atol=subject.rounding
            )


def cuts_leave_what_they_should(subject: Subject) -> None:
    """Every token drawn is one that the cut leaves, and some that it takes would have come."""
    for sampling, allowed in (
        (Sampling(max_new_tokens=8, temperature=2.0, top_k=3), _top_k(3, subject.rounding)),
        (Sampling(max_new_tokens=8, temperature=2.0, min_p=0.2), _min_p(0.2, subject.rounding)),
        (Sampling(max_new_tokens=8, temperature=2.0, top_p=0.5), _top_p(0.5, subject.rounding)),
    ):
        free = Sampling(max_new_tokens=8, temperature=2.0)
        assert _outside(subject, _rows(subject, sampling, num_samples=8), allowed) == 0
        assert _outside(subject, _rows(subject, free, num_samples=8), allowed) > 10


def _outside(
    subject: Subject, rows: list[Completion], allowed: Callable[[torch.Tensor], torch.Tensor]
) -> int:
    count = 0
    for row in rows:
        probs_TV = (_logits(subject, row) / 2.0).softmax(dim=-1)
        kept_T = allowed(probs_TV).gather(-1, torch.tensor(row.token_ids).unsqueeze(-1))
        count += int((~kept_T).sum())
    return count


# A hair more than what is cut exactly, for engines that round otherwise than the reference.
def _top_k(k: int, hair: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda probs_TV: probs_TV >= probs_TV.topk(k).values[:, -1:] * (1 - hair)


def _min_p(share: float, hair: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda probs_TV: probs_TV >= share * (1 - hair) * probs_TV.amax(-1, keepdim=True)


def _top_p(share: float, hair: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def kept(probs_TV: torch.Tensor) -> torch.Tensor:
        likelier_TVV = probs_TV.unsqueeze(1) > probs_TV.unsqueeze(2)
        return (likelier_TVV * probs_TV.unsqueeze(1)).sum(-1) < share + hair

    return kept


def a_penalty_is_transformers_own(subject: Subject) -> None:
    penalised = _rows(subject, Sampling(max_new_tokens=12, repetition_penalty=1.9))
    for prompt, row in zip(PROMPTS, penalised, strict=True):
        _transformers_own(subject, prompt, row, repetition_penalty=1.9)
    assert _ids(penalised) != _ids(_rows(subject, Sampling(max_new_tokens=12)))


def samples_of_a_group_differ_and_stand_under_their_prompt(subject: Subject) -> None:
    groups = subject.engine.generate(
        PROMPTS, Sampling(max_new_tokens=8, temperature=1.5), num_samples=4, seed=7
    )
    assert [group[0].prompt_ids for group in groups] == [tuple(prompt) for prompt in PROMPTS]
    assert all(len(group) == 4 for group in groups)
    assert all(len({row.token_ids for row in group}) > 1 for group in groups)
    likeliest = Sampling(max_new_tokens=8, temperature=0.7, top_k=1)
    only = subject.engine.generate(PROMPTS, likeliest, num_samples=2)
    greedy = _rows(subject, Sampling(max_new_tokens=8))
    assert [_ids(group) for group in only] == [[row.token_ids] * 2 for row in greedy]


def seeds_repeat_and_differ(subject: Subject) -> None:
    sampling = Sampling(max_new_tokens=8, temperature=1.5)
    first, again, other = (
        _ids(_rows(subject, sampling, num_samples=3, seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again != other


def a_stop_text_ends_a_completion_with_its_last_token(subject: Subject) -> None:
    decode = tiny_tokenizer().decode
    candidates = [
        (row, text[-2:])
        for row in _rows(subject, Sampling(max_new_tokens=20))
        for n in range(4, row.num_tokens)
        if (text := decode(row.token_ids[: n + 1])).strip()[-2:].isalpha()  # no half characters
    ]
    plain, stop = candidates[0]
    first = next(n for n in range(20) if stop in decode(plain.token_ids[: n + 1]))
    sampling = Sampling(max_new_tokens=20, stop=(stop, "never there"))
    ((cut,),) = subject.engine.generate([plain.prompt_ids], sampling)
    assert cut.token_ids == plain.token_ids[: first + 1]
    assert cut.logprobs == pytest.approx(plain.logprobs[: first + 1], abs=subject.rounding)
    assert cut.finish_reason == "stop"


def the_window_cuts_completions_and_refuses_prompts_that_fill_it(subject: Subject) -> None:
    long = [5 + i % 30 for i in range(WINDOW - 3)]
    (cut,), (short,) = subject.engine.generate([long, [7]], Sampling(max_new_tokens=9))
    assert cut.num_tokens <= 3
    assert short.num_tokens <= 9
    with pytest.raises(AtlasError, match=rf"{WINDOW} tokens.*window holds {WINDOW}"):
        subject.engine.generate([[7], [*long, 5, 5, 5]], Sampling(max_new_tokens=9))


def nothing_in_nothing_out_and_no_empty_prompt(subject: Subject) -> None:
    assert subject.engine.generate([], Sampling(max_new_tokens=1)) == []
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        subject.engine.generate([[5], []], Sampling(max_new_tokens=1))


CONTRACT: tuple[Callable[[Subject], None], ...] = (
    greedy_is_transformers_own,
    ends_are_kept_and_told,
    logprobs_are_the_trainers,
    cuts_leave_what_they_should,
    a_penalty_is_transformers_own,
    samples_of_a_group_differ_and_stand_under_their_prompt,
    seeds_repeat_and_differ,
    a_stop_text_ends_a_completion_with_its_last_token,
    the_window_cuts_completions_and_refuses_prompts_that_fill_it,
    nothing_in_nothing_out_and_no_empty_prompt,
)
