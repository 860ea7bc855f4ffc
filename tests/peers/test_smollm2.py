"""The folder that is made of SmolLM2's GGUF file says what llama.cpp says of the file itself.

llama.cpp multiplies four-bit weights by activations that it rounds to eight bits, so that its
likelihoods are near, not equal.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tests.peers.llama_server import Ask, served

from atlas.environments.loading import load_actor
from atlas.machine.shipped import SMOLLM2
from atlas.models.checkpoints import load_model, load_tokenizer
from atlas.models.packaged import packaged_file, unpacked
from atlas.prompts.chat import encode
from atlas.prompts.folder import shipped_prompts
from atlas.rollouts.generator import Sampling

TEXTS = (
    "The capital of France is",
    "There are 4 boxes with 3 pens each, so there are",
    "Größe, naïve, 数学 - (x) 123456",
)
QUESTIONS = ("What is 12+13?", "Name a colour.", "What is the capital of Italy?", "Say hello.")


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    unpacked(SMOLLM2)
    with served(packaged_file()) as post:
        yield post


def test_texts_become_the_same_tokens(ask: Ask) -> None:
    tokenizer = load_tokenizer(SMOLLM2)
    for text in TEXTS:
        said = ask("/tokenize", {"content": text})["tokens"]
        assert said == tokenizer.encode(text, add_special_tokens=False)


@torch.no_grad()
def test_the_next_token_is_nearly_as_likely(ask: Ask) -> None:
    model, tokenizer = load_model(SMOLLM2), load_tokenizer(SMOLLM2)
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False)
        expected = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        body = {"prompt": ids, "n_predict": 1, "temperature": 0, "n_probs": 5}
        (place,) = ask("/completion", body)["completion_probabilities"]
        for entry in place["top_logprobs"]:
            assert entry["logprob"] == pytest.approx(float(expected[entry["id"]]), abs=0.3)


def test_greedy_tokens_are_equal_where_the_choice_is_clear(ask: Ask) -> None:
    actor = load_actor(SMOLLM2, Sampling(max_new_tokens=24), prompts=shipped_prompts("chat"))
    prompts = [encode(actor.tokenizer, [{"role": "user", "content": q}]) for q in QUESTIONS]
    made = actor.generator.generate(prompts, actor.sampling)
    clear = 0
    for prompt, (completion,) in zip(prompts, made, strict=True):
        for place, token in enumerate(completion.token_ids):
            ids = [*prompt, *completion.token_ids[:place]]
            body = {"prompt": ids, "n_predict": 1, "temperature": 0, "n_probs": 2}
            (found,) = ask("/completion", body)["completion_probabilities"]
            first, second = found["top_logprobs"]
            if first["logprob"] - second["logprob"] > 0.6:  # twice what the rounding does
                assert first["id"] == token, (place, completion.text)
                clear += 1
    assert clear >= 20  # of 64
