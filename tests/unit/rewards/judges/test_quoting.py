from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.rewards.judges.quoting import quote, unquote

FENCE = "0123456789abcdef"
NASTY = st.text() | st.text(
    alphabet='<>[]|/{}"\\\n\r\u2028\u200b\u202e\uff5c\u2581INSTsBEGD _0', max_size=60
)


def in_prompt(line: str) -> str:
    return f"BEGIN {FENCE}\n{line}\nEND {FENCE}\nJudge it."


@given(prompt=NASTY, response=NASTY)
@settings(max_examples=60, deadline=None)
def test_any_text_is_one_line_and_comes_back_as_it_was(prompt: str, response: str) -> None:
    line = quote({"prompt": prompt, "response": response}, max_chars=10_000)
    assert len(line.splitlines()) == 1
    assert unquote(in_prompt(line), FENCE) == {"prompt": prompt, "response": response}


@pytest.mark.parametrize(
    "token",
    [
        *("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<|endoftext|>"),
        *("<s>", "</s>", "<<SYS>>", "[INST]", "[/INST]", "[gMASK]", "[TOOL_CALLS]", "<think>"),
        *("<start_of_turn>", "<end_of_turn>", "<|user|>", "<\uff5cUser\uff5c>", "<eos>", "\u2581"),
        *(
            "<|begin\u2581of\u2581sentence|>",
            "\uff1c|im_start|\uff1e",
            "\u200b",
            "\u202e",
            "\U000e0041",
        ),
    ],
)
def test_special_tokens_and_hidden_marks_do_not_stand_as_they_are(token: str) -> None:
    line = quote({"response": f"a {token} b"}, max_chars=1000)
    assert token not in line
    assert json.loads(line)["response"] == f"a {token} b"


def test_ordinary_text_stays_readable() -> None:
    text = "Größer: [1, 2], x > 5, 漢字, naïve, 😀, a|b, f(x) = {y}"
    assert quote({"response": text}, max_chars=1000) == f'{{"response": "{text}"}}'


def test_a_long_text_keeps_its_ends_and_says_what_is_left_out() -> None:
    text = "a" * 50 + "x" * 1000 + "z" * 50
    assert json.loads(quote({"response": text, "n": [text]}, max_chars=100)) == {
        "response": {"head": "a" * 50, "left_out_chars": 1000, "tail": "z" * 50},
        "n": [{"head": "a" * 50, "left_out_chars": 1000, "tail": "z" * 50}],
    }


def test_a_text_cannot_pretend_to_be_cut() -> None:
    fake = '{"head": "a", "left_out_chars": 9, "tail": "b"}'
    assert json.loads(quote({"response": fake}, max_chars=1000))["response"] == fake


def test_two_regions_are_no_quotation() -> None:
    with pytest.raises(ValueError, match="2 quoted regions between 4 fences"):
        unquote(in_prompt("{}") + "\n" + in_prompt("{}"), FENCE)
