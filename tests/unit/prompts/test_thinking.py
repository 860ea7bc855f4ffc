"""What is said and what is thought, by the marks and templates of models that think."""

from __future__ import annotations

import copy

import pytest
from tests.unit.prompts.thinkers import R1_ASSISTANT, R1_END, R1_USER, THINKERS, thinker
from tests.unit.tiny_models import tiny_tokenizer
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerBase

from atlas.data.chat import dialogue_examples, make_example
from atlas.prompts import Message
from atlas.prompts.chat import encode, reply_ids, turn_end_id
from atlas.prompts.thinking import lead_ids, said, split_text, tagged
from atlas.types import Completion, Utterance, Withheld

ASKED: Message = {"role": "user", "content": "Calculate 1 + 2."}
FINAL = "<|channel|>final<|message|>"


def sampled(
    tokenizer: PreTrainedTokenizerBase, text: str, prompt: list[int] | None = None
) -> Completion:
    """What an engine makes of a model that writes this, with marks as its own tokens."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    return Completion(
        prompt_ids=tuple(encode(tokenizer, [ASKED]) if prompt is None else prompt),
        token_ids=tuple(ids),
        logprobs=(-0.5,) * len(ids),
        text=str(tokenizer.decode(ids, skip_special_tokens=True)).strip(),
        finish_reason="stop",
    )


# What a model writes, what others get, what it thought, why nothing is given.
WRITTEN: dict[str, list[tuple[str, str, str, Withheld]]] = {
    "qwen3": [
        ("<think>\nFive?\n</think>\n\nAdd first.<|im_end|>", "Add first.", "Five?", ""),
        ("<think>\n\n</think>\n\nAdd first.<|im_end|>", "Add first.", "", ""),
        ("Add first.<|im_end|>", "Add first.", "", ""),
        ("Five?</think>Add first.", "Add first.", "Five?", ""),
        ("<think>So</think>the<think>n</think>end", "end", "Sothen", ""),
        ("<think>Five? Or six", "", "Five? Or six", "unfinished_thoughts"),
        ("<think>a</think>b<think>c", "", "abc", "unfinished_thoughts"),
        ("<think>Five?</think><|im_end|>", "", "Five?", ""),
        ("<think><think>a</think>b", "b", "a", ""),
    ],
    "deepseek_r1_distill": [
        (f"Five?\n</think>\n\nAdd first.{R1_END}", "Add first.", "Five?", ""),
        ("\n</think>\n\nAdd first.", "Add first.", "", ""),
        (f"Add first.{R1_END}", "", "Add first.", "unfinished_thoughts"),
        ("<think>Five?</think>Add first.", "Add first.", "Five?", ""),
    ],
    "gpt_oss": [
        (
            "<|channel|>analysis<|message|>Five?<|end|><|start|>assistant"
            f"{FINAL}Add first.<|return|>",
            *("Add first.", "Five?", ""),
        ),
        (f"{FINAL}Add first.<|return|>", "Add first.", "", ""),
        (f"{FINAL}Add first.<|end|><|start|>assistant", "Add first.", "", ""),
        ("<|channel|>analysis<|message|>Five? Or", "", "Five? Or", "unfinished_thoughts"),
        ("<|channel|>analysis<|message|>Five?<|end|>", "", "Five?", "unfinished_thoughts"),
        (
            "<|channel|>analysis<|message|>Five?<|end|><|start|>assistant<|channel|>final",
            *("", "Five?", "unfinished_thoughts"),
        ),
        (
            "<|channel|>commentary<|message|>I'll add.<|end|><|start|>assistant"
            f"<|channel|>analysis<|message|>3<|end|><|start|>assistant{FINAL}Add.",
            *("Add.", "I'll add.\n3", ""),
        ),
        ("Add first.<|return|>", "Add first.", "", ""),
    ],
    "smollm3": [("<think>\nFive?\n</think>\nAdd first.<|im_end|>", "Add first.", "Five?", "")],
}


@pytest.mark.parametrize("name", THINKERS)
def test_what_is_said_follows_the_last_end_of_thoughts(name: str) -> None:
    for text, answer, thoughts, withheld in WRITTEN[name]:
        found = said(thinker(name), sampled(thinker(name), text))
        assert (found.text, found.thoughts, found.withheld) == (answer, thoughts, withheld), text
        assert found.token_ids == sampled(thinker(name), text).token_ids


def test_thought_tokens_are_those_before_what_is_said() -> None:
    for name, text, answer in (
        ("qwen3", "<think>Add.</think>Answer: 3<|im_end|>", "Answer: 3<|im_end|>"),
        ("gpt_oss", f"<|channel|>analysis<|message|>So<|end|>{FINAL}Add.", "Add."),
    ):
        found = said(thinker(name), sampled(thinker(name), text))
        visible = found.token_ids[found.thought_tokens :]
        assert thinker(name).decode(list(visible)) == answer
    unfinished = said(thinker("qwen3"), sampled(thinker("qwen3"), "<think>Add."))
    assert unfinished.thought_tokens == unfinished.num_tokens


@pytest.mark.parametrize(
    ("begin", "end", "special"),
    [
        ("[THINK]", "[/THINK]", True),
        ("<seed:think>", "</seed:think>", False),
        ("<|START_THINKING|>", "<|END_THINKING|>", True),
        ("<|channel>", "<channel|>", True),
    ],
)
def test_other_marks_that_are_tokens(begin: str, end: str, special: bool) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.add_tokens([AddedToken(mark, special=special) for mark in (begin, end)])
    found = said(tokenizer, sampled(tokenizer, f"{begin}Five?{end}Answer: 3<|end|>"))
    assert (found.text, found.thoughts) == ("Answer: 3", "Five?")


def test_marks_without_a_token_are_found_in_the_text() -> None:
    tokenizer = tiny_tokenizer()
    found = said(tokenizer, sampled(tokenizer, "<think>Five</think>so it</think>the Answer: 3"))
    assert (found.text, found.thoughts) == ("the Answer: 3", "Five</think>so it")
    begun = str(tokenizer.decode(list(found.token_ids[: found.thought_tokens])))
    assert begun.count("</think>") == 2
    assert "Answer" not in begun
    assert said(tokenizer, sampled(tokenizer, "so <think> Answer")).withheld
    plain = sampled(tokenizer, "Answer: 3")
    assert said(tokenizer, plain) is plain


def test_a_template_names_marks_that_are_no_tokens() -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = f"{tokenizer.chat_template}{{# [THINK] … [/THINK] #}}"
    found = said(tokenizer, sampled(tokenizer, "[THINK]Five?[/THINK]Answer: 3"))
    assert (found.text, found.thoughts) == ("Answer: 3", "Five?")


def test_the_prompt_opens_thoughts_or_closes_them() -> None:
    tokenizer = thinker("qwen3")
    for end, withheld in (("<think>\n", True), ("<think>\n\n</think>\n\n", False), ("", False)):
        prompt = [*encode(tokenizer, [ASKED]), *tokenizer.encode(end)]
        assert bool(said(tokenizer, sampled(tokenizer, "Add.", prompt)).withheld) == withheld


@pytest.mark.parametrize("name", ["qwen3", "smollm3"])
def test_a_template_that_is_told_not_to_think(name: str) -> None:
    """The thoughts that were recorded are left out, too."""
    tokenizer, given = thinker(name), {"enable_thinking": False}
    prompt = encode(tokenizer, [ASKED], given=given)
    assert str(tokenizer.decode(prompt)).rstrip().endswith("</think>")
    assert said(tokenizer, sampled(tokenizer, "Add.", prompt)).text == "Add."
    assert lead_ids(tokenizer, prompt, "Five?") == []


def test_only_the_last_whole_tag_is_given_on() -> None:
    told = "I think. <teaching>No.</teaching> <teaching>\nAdd.\n</teaching> So."
    found = tagged(Utterance(text=told, thoughts="Five?", num_tokens=9), "teaching")
    assert found == Utterance(text="Add.", thoughts=f"Five?\n{told}", num_tokens=9)
    assert tagged(Utterance(text=told), None) == Utterance(text=told)
    for broken in ("Add.", "<teaching>Add.", "Add.</teaching>", "</teaching>Add.<teaching>"):
        assert tagged(Utterance(text=broken), "teaching").withheld == "untagged"
    cut = Utterance(withheld="unfinished_thoughts")
    assert tagged(cut, "teaching") == cut


# After the prompt: what SFT teaches a model to write, without thoughts and with them.
TAUGHT = {
    "qwen3": ("Add.<|im_end|>", "<think>\nFive?\n</think>\n\nAdd.<|im_end|>"),
    "smollm3": ("Add.<|im_end|>", "<think>\nFive?\n</think>\n\nAdd.<|im_end|>"),
    "deepseek_r1_distill": (
        f"\n</think>\n\nAdd.{R1_END}",
        f"Five?\n</think>\n\nAdd.{R1_END}",
    ),
    "gpt_oss": (
        f"{FINAL}Add.<|return|>",
        f"<|channel|>analysis<|message|>Five?<|end|><|start|>assistant{FINAL}Add.<|return|>",
    ),
}


@pytest.mark.parametrize("name", THINKERS)
def test_sft_teaches_what_is_read_as_said(name: str) -> None:
    tokenizer = thinker(name)
    for text, written in zip(("Add.", "<think>Five?</think>Add."), TAUGHT[name], strict=True):
        example = make_example(tokenizer, [ASKED], text)
        ((start, _),) = example.trained
        assert tokenizer.decode(list(example.ids[start:])) == written
        found = said(tokenizer, sampled(tokenizer, written))
        assert (found.text, found.thoughts) == ("Add.", split_text(text)[0])
        assert encode(tokenizer, [ASKED]) == list(example.ids[:start])


@pytest.mark.parametrize("name", THINKERS)
def test_what_is_learned_of_a_dialogue_is_what_each_turn_was(name: str) -> None:
    """Templates that write earlier turns otherwise make an example of each turn."""
    tokenizer = thinker(name)
    told: Message = {"role": "assistant", "content": "Add."}
    more: Message = {"role": "user", "content": "And 3?"}
    examples = dialogue_examples(tokenizer, [ASKED, told, more, told], max_length=999)
    learned = [list(e.ids[start:end]) for e in examples for start, end in e.trained]
    assert [str(tokenizer.decode(ids)) for ids in learned] == [TAUGHT[name][0]] * 2
    assert len(examples) == (1 if name in ("qwen3", "smollm3") else 2)


REPLIES = {
    "qwen3": "\n<|im_start|>user\nMore.<|im_end|>\n<|im_start|>assistant\n",
    "smollm3": "\n<|im_start|>user\nMore.<|im_end|>\n<|im_start|>assistant\n",
    "deepseek_r1_distill": f"{R1_USER}More.{R1_ASSISTANT}<think>\n",
    "gpt_oss": "<|start|>user<|message|>More.<|end|><|start|>assistant",
}


@pytest.mark.parametrize("name", THINKERS)
def test_a_reply_follows_the_turn_as_it_was_said(name: str) -> None:
    """Whatever the template makes of turns that have others after them."""
    tokenizer = thinker(name)
    end = turn_end_id(tokenizer)
    assert tokenizer.decode(reply_ids(tokenizer, [7, end], "More.")) == REPLIES[name]
    cut = str(tokenizer.decode(reply_ids(tokenizer, [7], "More.")))
    assert cut == {"gpt_oss": "<|end|>"}.get(name, tokenizer.decode([end])) + REPLIES[name]


@pytest.mark.parametrize("name", THINKERS)
def test_an_answer_that_is_given_stands_behind_the_thoughts(name: str) -> None:
    tokenizer = thinker(name)
    prompt = encode(tokenizer, [ASKED])
    written = tokenizer.decode([*lead_ids(tokenizer, prompt), *tokenizer.encode("Answer: 3")])
    assert said(tokenizer, sampled(tokenizer, str(written))).text == "Answer: 3"
