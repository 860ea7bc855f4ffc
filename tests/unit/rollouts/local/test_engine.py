"""The in-process engine against transformers' own ``generate`` and against a fresh forward."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tests.unit.tiny_models import (
    END,
    KINDS,
    adapted_model,
    rows_of,
    tiny_model,
    tiny_tokenizer,
)
from transformers import PreTrainedModel

from atlas.errors import AtlasError
from atlas.machine.precision import computing
from atlas.models.passes.forward import logprobs, prepare_forward
from atlas.rollouts.generator import Sampling
from atlas.rollouts.local import decoder_choice
from atlas.rollouts.local.engine import LocalGenerator
from atlas.types import Completion, Tokens

# Long and short ones mixed, so that sorting by length would change the order of the results.
PROMPTS = [[5, 6, 7, 8, 9], [10], [11, 12, 13], [14, 15, 16, 17, 18, 19, 20], [21, 22], [23]]
GREEDY = Sampling(max_new_tokens=12)


def ending_model(kind: str = "llama") -> PreTrainedModel:
    """A model that ends some completions of PROMPTS early, and others not at all."""
    return tiny_model(kind, seed=3)


def generator(model: PreTrainedModel, **options: Any) -> LocalGenerator:
    return LocalGenerator(model, tiny_tokenizer(), **options)


def tokens(groups: list[list[Completion]]) -> list[list[tuple[int, ...]]]:
    return [[completion.token_ids for completion in group] for group in groups]


def alone(model: Any, prompt: list[int], num_tokens: int) -> list[int]:
    """What transformers' own greedy decoding gives for one prompt."""
    ids = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt)).long(),
        max_new_tokens=num_tokens,
        do_sample=False,
    )
    return ids[0, len(prompt) :].tolist()


@pytest.mark.parametrize("pad", [None, "<|end|>"])
@pytest.mark.parametrize("decoder", ["llama", "gpt2"])
def test_what_a_tokenizer_pads_with_changes_nothing(decoder: str, pad: str | None) -> None:
    model, tokenizer = ending_model(decoder), copy.deepcopy(tiny_tokenizer())
    tokenizer.pad_token = pad
    found = LocalGenerator(model, tokenizer).generate(PROMPTS, GREEDY)
    assert tokens(found) == tokens(generator(model).generate(PROMPTS, GREEDY))


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_equals_transformers_token_for_token(kind: str) -> None:
    model = ending_model(kind)
    found = generator(model).generate(PROMPTS, GREEDY)
    for prompt, (completion,) in zip(PROMPTS, found, strict=True):
        assert completion.prompt_ids == tuple(prompt)
        assert list(completion.token_ids) == alone(model, prompt, 12)


def test_rows_that_end_early_leave_the_others_unchanged() -> None:
    """Which also shows that the model of these tests ends some rows and not others."""
    found = generator(ending_model()).generate(PROMPTS, GREEDY)
    lengths = [group[0].num_tokens for group in found]
    assert min(lengths) < 6
    assert max(lengths) == 12
    for group in found:
        ended = group[0].token_ids[-1] == END
        assert group[0].finish_reason == ("stop" if ended else "length")
        assert END not in group[0].token_ids[:-1]


def test_a_token_that_the_model_has_no_row_for_is_named() -> None:
    with pytest.raises(
        AtlasError, match=r"contains '.+', number 41 of the tokenizer, but '.*' has 40"
    ):
        generator(ending_model()).generate([*PROMPTS, [5, 41]], GREEDY)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])  # one with groups that join, one without
@pytest.mark.parametrize("max_rows", [1, 2, 4, 7])
def test_the_size_of_batches_changes_nothing(kind: str, max_rows: int) -> None:
    """Not even what is drawn: chance belongs to a place, not to a batch."""
    model = ending_model(kind)
    sampling = Sampling(max_new_tokens=12, temperature=1.2, top_p=0.9)
    whole = generator(model).generate(PROMPTS, sampling, num_samples=2, seed=3)
    cut = generator(model, max_rows=max_rows).generate(PROMPTS, sampling, num_samples=2, seed=3)
    assert tokens(cut) == tokens(whole)
    assert len({row.num_tokens for group in whole for row in group}) > 2


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_prompts_may_be_shared_out_among_engines(kind: str) -> None:
    sampling = Sampling(max_new_tokens=12, temperature=1.0)
    engine = generator(ending_model(kind))
    whole = engine.generate(PROMPTS, sampling, num_samples=2, seed=3)
    shares = [
        *engine.generate(PROMPTS[:1], sampling, num_samples=2, seed=3),
        *engine.generate(PROMPTS[1:], sampling, num_samples=2, seed=3, first_place=1),
    ]
    assert tokens(shares) == tokens(whole)


def test_both_decoders_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ending_model()
    sampling = Sampling(max_new_tokens=12, temperature=1.2, min_p=0.05)
    direct = generator(model).generate(PROMPTS, sampling, num_samples=3)
    monkeypatch.setattr(decoder_choice, "unfit", lambda *_: "a test says so")
    through = generator(model).generate(PROMPTS, sampling, num_samples=3)
    assert tokens(direct) == tokens(through)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_weights_changed_in_place_count_at_once(kind: str) -> None:
    """However they were changed: ``.data`` leaves no trace in a tensor's version."""
    model = ending_model(kind)
    engine = generator(model)
    before = engine.generate(PROMPTS, GREEDY)
    for parameter in model.parameters():
        parameter.data.mul_(torch.linspace(0.5, 1.5, parameter.shape[-1]))
    found = engine.generate(PROMPTS, GREEDY)
    assert tokens(found) != tokens(before)
    for prompt, (completion,) in zip(PROMPTS, found, strict=True):
        assert list(completion.token_ids) == alone(model, prompt, 12)


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.3])
def test_logprobs_are_those_of_a_fresh_forward(temperature: float, adapted: bool) -> None:
    """Greedy ones at temperature 1, and the tail that top_p cuts still counted."""
    model = adapted_model(seed=3) if adapted else ending_model()
    sampling = Sampling(max_new_tokens=10, temperature=temperature, top_p=0.9)
    groups = generator(model).generate(PROMPTS, sampling, num_samples=3, seed=1)
    rows = [completion for group in groups for completion in group]
    assert len({row.num_tokens for row in rows}) > 1
    texts = rows_of(PROMPTS, [row.token_ids for row in rows])
    with torch.no_grad():
        fresh_BT = logprobs(model, texts, temperature=temperature or 1.0).logprobs_BT
    sampled_BT = torch.zeros_like(fresh_BT)
    for row, completion in enumerate(rows):
        sampled_BT[row, : completion.num_tokens] = torch.tensor(completion.logprobs)
    torch.testing.assert_close(sampled_BT, fresh_BT, rtol=0, atol=1e-4)


def test_seeds_repeat_and_differ_and_samples_of_a_group_differ() -> None:
    engine = generator(tiny_model())
    sampling = Sampling(max_new_tokens=8, temperature=1.5)
    first, again, other = (
        tokens(engine.generate(PROMPTS, sampling, num_samples=4, seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert all(len(group) == 4 and len(set(group)) > 1 for group in first)


def test_samples_belong_to_their_own_prompt() -> None:
    """At a temperature near 0, samples are the greedy completion of the prompt they stand under."""
    engine = generator(ending_model(), max_rows=4)
    almost_greedy = Sampling(max_new_tokens=12, temperature=1e-4)
    greedy = tokens(engine.generate(PROMPTS, GREEDY))
    found = engine.generate(PROMPTS, almost_greedy, num_samples=3)
    assert tokens(found) == [group * 3 for group in greedy]
    assert [group[0].prompt_ids for group in found] == [tuple(prompt) for prompt in PROMPTS]


def test_every_end_that_anything_names_ends_a_completion() -> None:
    """The tokenizer's, the configuration's, and those of the generation configuration."""
    model = ending_model()
    plain = generator(model).generate(PROMPTS, GREEDY)[0][0].token_ids
    model.generation_config.eos_token_id = [END, plain[3]]
    cut = generator(model).generate(PROMPTS, GREEDY)[0][0]
    assert cut.token_ids == plain[: plain.index(plain[3]) + 1]
    assert cut.finish_reason == "stop"
    assert tiny_tokenizer().eos_token_id == END
    model.config.eos_token_id = model.generation_config.eos_token_id = None
    assert tokens(generator(model).generate(PROMPTS, GREEDY))[0] == [plain]


def test_text_is_decoded_without_specials_and_stripped() -> None:
    tokenizer = tiny_tokenizer()
    model = tiny_model(vocab_size=len(tokenizer))
    ids = (*tokenizer.encode(" Answer: 7 "), END)
    script = iter(ids)
    head: Any = model.get_output_embeddings()

    def forced(module: object, args: object, logits: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor([[next(script)]]), len(tokenizer)) * 9.0

    head.register_forward_hook(forced)
    (completion,) = generator(model).generate([[5]], Sampling(max_new_tokens=40))[0]
    assert (completion.token_ids, completion.text) == (ids, "Answer: 7")
    assert completion.finish_reason == "stop"


def test_the_model_is_left_in_the_mode_that_it_was_in_and_the_version_is_stamped() -> None:
    model = tiny_model().train()
    engine = generator(model, policy_version=3)
    (completion,) = engine.generate([[5]], Sampling(max_new_tokens=1))[0]
    assert model.training
    assert completion.policy_version == 3
    assert (completion.num_tokens, completion.finish_reason) == (1, "length")
    model.eval()
    engine.generate([[5]], Sampling(max_new_tokens=1))
    assert not model.training


def test_dropout_is_off_while_sampling() -> None:
    dropping = tiny_model("llama", attention_dropout=0.9).train()
    plain = tiny_model("llama")
    assert tokens(generator(dropping).generate(PROMPTS, GREEDY)) == tokens(
        generator(plain).generate(PROMPTS, GREEDY)
    )


def test_no_prompts_no_completions_and_no_empty_prompts() -> None:
    engine = generator(tiny_model())
    assert engine.generate([], GREEDY) == []
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        engine.generate([[5], []], GREEDY)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_window_cuts_completions_and_refuses_prompts_that_fill_it(kind: str) -> None:
    engine = generator(tiny_model(kind))  # a window of 64
    long = [5 + i % 30 for i in range(61)]
    model = engine.model
    model.generation_config.eos_token_id = model.config.eos_token_id = None
    found = engine.generate([long, [7]], Sampling(max_new_tokens=9))
    assert found[0][0].num_tokens == 3
    assert found[0][0].finish_reason in ("length", "stop")
    with pytest.raises(AtlasError, match=r"64 tokens.*window holds 64"):
        engine.generate([[7], [*long, 5, 5, 5]], GREEDY)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_row_at_the_end_of_the_window_waits_there_for_the_others(kind: str) -> None:
    """It has ended, but leaves only when enough others have."""
    model = tiny_model(kind)
    model.generation_config.eos_token_id = model.config.eos_token_id = None
    long = [5 + i % 30 for i in range(61)]
    prompts = [long, *([7 + i] for i in range(9))]
    found = generator(model).generate(prompts, GREEDY)
    for prompt, (completion,) in zip(prompts[:3], found, strict=False):
        expected = alone(model, prompt, min(12, 64 - len(prompt)))
        assert list(completion.token_ids) == expected[: completion.num_tokens]
    assert found[0][0].num_tokens <= 3


def test_a_stop_text_ends_a_completion_with_its_last_token() -> None:
    model = tiny_model(vocab_size=len(tiny_tokenizer()), seed=1)
    (plain,) = generator(model).generate([[5, 6]], Sampling(max_new_tokens=20))[0]
    texts = [tiny_tokenizer().decode(plain.token_ids[: n + 1]) for n in range(20)]
    place = next(n for n in range(4, 20) if len(texts[n]) >= len(texts[n - 1]) + 1)
    stop = texts[place][-3:]  # spans tokens, or lies in one
    first = next(n for n in range(20) if stop in texts[n])
    sampling = Sampling(max_new_tokens=20, stop=(stop, "never there"))
    (cut,) = generator(model).generate([[5, 6]], sampling)[0]
    assert cut.token_ids == plain.token_ids[: first + 1]
    assert cut.logprobs == pytest.approx(plain.logprobs[: first + 1], abs=1e-5)
    assert cut.finish_reason == "stop"


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_penalty_counts_prompt_and_completion_of_the_row_alone(kind: str) -> None:
    """Greedy with a penalty is transformers' own, token for token, as rows come and go."""
    model: Any = ending_model(kind)
    sampling = Sampling(max_new_tokens=12, repetition_penalty=1.9)
    found = generator(model, max_rows=2).generate(PROMPTS, sampling)
    for prompt, (completion,) in zip(PROMPTS, found, strict=True):
        ids = model.generate(
            torch.tensor([prompt]), max_new_tokens=12, do_sample=False, repetition_penalty=1.9
        )
        assert list(completion.token_ids) == ids[0, len(prompt) :].tolist()
    assert tokens(found) != tokens(generator(model).generate(PROMPTS, GREEDY))


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3", "gpt2", "lora"])
def test_weights_in_float32_are_sampled_in_bfloat16_as_an_update_computes_them(kind: str) -> None:
    """The log-probabilities are those of a pass under autocast, up to bfloat16's rounding."""
    model = adapted_model() if kind == "lora" else ending_model(kind)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    sampling = Sampling(max_new_tokens=8, temperature=1.0)
    found = generator(model, dtype=torch.bfloat16).generate(PROMPTS, sampling, num_samples=2)
    rows = [completion for group in found for completion in group]
    texts = rows_of(PROMPTS, [row.token_ids for row in rows])
    reported = torch.tensor([value for row in rows for value in row.logprobs])

    def gap(autocast: bool) -> float:
        with torch.no_grad(), computing(torch.device("cpu"), autocast):
            said = logprobs(model, texts)
        return float((said.logprobs_BT[said.mask_BT] - reported).abs().mean())

    assert gap(autocast=True) < 0.1
    assert gap(autocast=False) > 1e-4  # exact float32 was not what sampled
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gpt2", "gemma3", "lora"])
def test_bfloat16_is_nearer_to_an_update_in_bfloat16_than_float32_is(kind: str) -> None:
    """Whatever samples, and what learns afterwards can learn."""
    model = adapted_model(seed=3) if kind == "lora" else ending_model(kind)
    prepare_forward(model)
    sampling = Sampling(max_new_tokens=12, temperature=1.0)
    errors: list[float] = []
    for dtype in (torch.bfloat16, None):
        found = generator(model, dtype=dtype).generate(PROMPTS, sampling, num_samples=4)
        rows = [completion for group in found for completion in group]
        with computing(model.device, True):
            said = logprobs(model, [Tokens.of(row.prompt_ids, row.token_ids) for row in rows])
        said.logprobs_BT.sum().backward()
        sampled_M = torch.tensor([value for row in rows for value in row.logprobs])
        errors.append(float((sampled_M - said.logprobs_BT.detach()[said.mask_BT]).abs().mean()))
    in_bf16, in_float32 = errors
    assert 0 < in_bf16 < 0.9 * in_float32
