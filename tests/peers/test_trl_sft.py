"""Our SFT equals TRL's: the loss, every gradient and what is trained of each dialogue.

TRL's trainer gets the dialogues as messages and does all of it itself: chat template, mask,
padding, loss. Both get the same model in float64 and the same tokenizer.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tests.numerics.step_parts import gradients_of
from tests.unit.tiny_models import tiny_model, tiny_tokenizer
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from atlas.data.chat import dialogue_examples
from atlas.models.passes.forward import logprobs
from atlas.models.passes.padded import trained_mask
from atlas.objectives.cross_entropy import cross_entropy
from atlas.training.micro_batches import pack
from atlas.types import Tokens

TOLERANCE = 1e-5
LESSONS = [
    [("1 + 2", "A = 1 + 2. Answer A.")],
    [("Calculate 1 + 2 * 3.", "A = 2 * 3. B = 1 + A. Answer B."), ("Take your time.", "7")],
    [("3", "1"), ("2", "B = 1 + A."), ("1", "Answer: 7")],
    [("Take your time. Take your time.", "A.")],
]


def messages(lesson: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [
        {"role": role, "content": text}
        for pair in lesson
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


def marked_tokenizer() -> PreTrainedTokenizerFast:
    """Return our tokenizer with TRL's marks around what the assistant says and its end."""
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = (
        "{% for message in messages %}<|{{ message['role'] }}|>"
        "{% if message['role'] == 'assistant' %}"
        "{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}"
        "{% else %}{{ message['content'] }}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    return tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama")
    tokenizer = tiny_tokenizer()
    tiny_model("llama", torch.float64, vocab_size=len(tokenizer)).save_pretrained(path)
    return path


def trl_batch(folder: Path, **settings: Any) -> tuple[SFTTrainer, dict[str, Tensor]]:
    """Return TRL's trainer, and all dialogues as it collates them."""
    trainer = SFTTrainer(
        str(folder),
        args=SFTConfig(
            output_dir=str(folder / "trl"),
            model_init_kwargs={"dtype": "auto"},
            bf16=False,
            use_cpu=True,
            per_device_train_batch_size=len(LESSONS),
            gradient_checkpointing=False,
            report_to="none",
            max_length=256,
            assistant_only_loss=True,
            **settings,
        ),
        train_dataset=Dataset.from_list([{"messages": messages(lesson)} for lesson in LESSONS]),
        processing_class=marked_tokenizer(),
    )
    trainer.model.train()
    rows = [trainer.train_dataset[i] for i in range(len(LESSONS))]  # pyright: ignore
    return trainer, trainer.data_collator(rows)


def ours() -> list[Tokens]:
    tokenizer = tiny_tokenizer()
    return [
        example
        for lesson in LESSONS
        for example in dialogue_examples(tokenizer, messages(lesson), max_length=256)
    ]


def loss_and_gradients(folder: Path, rows: list[Tokens]) -> tuple[Tensor, dict[str, Tensor]]:
    model = load(folder)
    found = logprobs(model, rows)
    count = sum(row.num_trained for row in rows)
    loss = cross_entropy(found.logprobs_BT, found.mask_BT, count)
    loss.backward()
    return loss.detach(), dict(gradients_of(model))


def load(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).train()


@pytest.mark.parametrize("packed", [False, True])
def test_loss_and_every_gradient_are_those_of_trl(folder: Path, packed: bool) -> None:
    trainer, batch = trl_batch(folder)
    model: Any = trainer.model
    expected = trainer.compute_loss(model, dict(batch))
    expected.backward()
    rows = pack(ours(), 64) if packed else ours()
    assert len(rows) == (2 if packed else len(LESSONS))
    loss, gradients = loss_and_gradients(folder, rows)
    torch.testing.assert_close(loss, expected.detach().double(), rtol=TOLERANCE, atol=0)
    theirs = gradients_of(model)
    assert gradients.keys() == theirs.keys()
    for name, gradient in theirs.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(gradients[name], gradient, rtol=0, atol=TOLERANCE * scale)


def test_the_same_tokens_are_trained(folder: Path) -> None:
    _, batch = trl_batch(folder)
    trained_BT = trained_mask(ours(), torch.device("cpu"))
    for ids_T, there_T, row in zip(
        batch["input_ids"], batch["attention_mask"], ours(), strict=True
    ):
        assert ids_T[there_T.bool()].tolist() == list(row.ids)
    labels_BT = batch["input_ids"].masked_fill(~trained_BT, -100)
    assert batch["labels"].tolist() == labels_BT.tolist()
