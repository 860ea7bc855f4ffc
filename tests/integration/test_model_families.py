"""Pre-trained models of other makers end to end: folders as their owners publish them.

Small random weights of Llama, Qwen 3 and Gemma 3, each with a chat template in that family's own
style and special tokens (that of Qwen 3, which thinks, is its own file): SFT with packing, then
GRPO on what it wrote, by the real commands.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from tests.integration.guide_workshop import SMALL_GRPO, Workshop
from tests.unit.data.sources.recorded import recorded
from tests.unit.prompts.thinkers import TEMPLATES
from tests.unit.tiny_models import tiny_config
from tokenizers import AddedToken
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from atlas.data.chat import dialogue_examples
from atlas.from_scratch.model.tokenizer import train_tokenizer
from atlas.prompts.chat import turn_end_id
from atlas.session import Session
from atlas.traces.jsonl import write_jsonl


@dataclass(frozen=True)
class Family:
    """How a family writes a dialogue."""

    special: tuple[str, ...]
    ends: tuple[str, ...]
    """Of its generation_config; the first is the tokenizer's end of sequence."""
    end_of_turn: str
    template: str
    marks: tuple[str, ...] = ()
    """Tokens that are no special ones, as those of thoughts."""


FAMILIES = {
    # Llama 3.1: turns as its model card lays them out.
    "llama": Family(
        special=(
            *("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
            *("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"),
        ),
        ends=("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"),
        end_of_turn="<|eot_id|>",
        template=(
            "<|begin_of_text|>{% for m in messages %}"
            "<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}"
            "<|eot_id|>{% endfor %}{% if add_generation_prompt %}"
            "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
        ),
    ),
    "qwen3": Family(
        special=("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        ends=("<|im_end|>", "<|endoftext|>"),
        end_of_turn="<|im_end|>",
        template=(TEMPLATES / "qwen3.jinja").read_text(encoding="utf-8"),
        marks=("<think>", "</think>"),
    ),
    # Gemma 3: the same.
    "gemma3": Family(
        special=("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        ends=("<eos>", "<end_of_turn>"),
        end_of_turn="<end_of_turn>",
        template=(
            "<bos>{% for m in messages %}<start_of_turn>"
            "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
            "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
            "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
        ),
    ),
}


def tokenizer_of(family: Family) -> PreTrainedTokenizerFast:
    """Return a small tokenizer with the family's special tokens and template."""
    tokenizer = train_tokenizer(["Calculate 1 + 2. Add 1 to 2. Answer: 3"], vocab_size=300)
    tokenizer.add_special_tokens({"additional_special_tokens": list(family.special)})
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in family.marks])
    tokenizer.eos_token = family.ends[0]
    tokenizer.chat_template = family.template
    return tokenizer


def publish(folder: Path, kind: str) -> PreTrainedTokenizerFast:
    """Write a model folder as its owner would."""
    tokenizer = tokenizer_of(FAMILIES[kind])
    config = tiny_config(
        kind,
        vocab_size=len(tokenizer),
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    ends = tokenizer.convert_tokens_to_ids(list(FAMILIES[kind].ends))
    model.generation_config.eos_token_id = ends
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_turn_ends_as_the_family_ends_it(kind: str) -> None:
    """The teaching and the end of the turn are learned, and nothing else."""
    family = FAMILIES[kind]
    tokenizer = tokenizer_of(family)
    assert tokenizer.convert_ids_to_tokens(turn_end_id(tokenizer)) == family.end_of_turn
    asked = {"role": "user", "content": "Calculate 1 + 2."}
    told = {"role": "assistant", "content": "Add 1 to 2."}
    (example,) = dialogue_examples(tokenizer, [asked, told], max_length=200)
    learned = example.ids[example.trained[0][0] :]
    assert tokenizer.decode(learned) == f"Add 1 to 2.{family.end_of_turn}"


def taught(number: int, kind: str) -> Session:
    """A session; before its teaching, Qwen 3 thought."""
    session = recorded(number, task=f"Calculate {number} + 30.")
    note = session.steps[0].guidance[0].note
    said = {"teaching_said": f"<think>\nOne more.\n</think>\n\n{note}"}
    return replace(session, metadata={**session.metadata, **said}) if kind == "qwen3" else session


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_published_model_becomes_a_teacher(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tokenizer = publish(tmp_path / "published", kind)
    sessions = [taught(n, kind) for n in range(1, 13)]
    write_jsonl("traces.jsonl", sessions)
    # Short: each letter is a token here.
    data = ("data=runtime_traces", "export_path=traces.jsonl", "prompts=plain")
    shop = Workshop(folder=tmp_path)
    words = (*data, "model_name_or_path=published", "learning_rate=1e-2", "num_train_epochs=4")
    batch = ("packing=true", "max_seq_length=512", "gradient_accumulation_steps=1")
    assert not shop.run("sft", "teacher_sft", *words, *batch).error
    lines = [json.loads(x) for x in Path("checkpoints/sft/metrics.jsonl").read_text().splitlines()]
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    room = ("max_new_tokens=24", "temperature=0.3", "student_model=published")
    ran = shop.run("grpo", "teacher_rcl", *SMALL_GRPO, *data, *room)
    assert not ran.error
    (table,) = Path("checkpoints/grpo/rollouts").glob("*.parquet")
    rollouts = pyarrow.parquet.read_table(table).to_pylist()
    assert not any("think>" in one["teaching"] for one in rollouts)
    assert any(one["thoughts"] for one in rollouts) == (kind == "qwen3")
    teacher = AutoModelForCausalLM.from_pretrained("checkpoints/grpo/final")
    again = AutoTokenizer.from_pretrained("checkpoints/grpo/final")
    assert teacher.config.model_type == tiny_config(kind).model_type
    assert again.chat_template == tokenizer.chat_template
    ends = teacher.generation_config.eos_token_id
    assert ends == tokenizer.convert_tokens_to_ids(list(FAMILIES[kind].ends))
