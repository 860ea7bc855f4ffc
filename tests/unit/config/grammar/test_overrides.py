from __future__ import annotations

import pytest

from atlas.config import QuickstartConfig, SFTConfig, keys_of
from atlas.config.grammar.overrides import parse_overrides
from atlas.errors import AtlasError

KEYS = keys_of(SFTConfig)


@pytest.mark.parametrize(
    "words",
    [
        ["data=runtime_pg"],
        ["/data=runtime_pg"],
        ["data@_global_=runtime_pg"],
        ["+data=runtime_pg"],
        ["+/data@_global_=runtime_pg"],
        ["+override /data@_global_: runtime_pg"],
        ["+override /data: runtime_pg"],
        ["override /data@_global_: runtime_pg"],
        ["+override", "/data@_global_:", "runtime_pg"],
    ],
)
def test_all_spellings_of_a_choice(words: list[str]) -> None:
    parsed = parse_overrides([*words, "seed=1"], KEYS)
    assert parsed.choices == {"data": "runtime_pg"}
    assert list(parsed.settings) == ["seed"]


def test_the_guides_line_as_the_shell_splits_it() -> None:
    words = ["+override", "/data@_global_:", "runtime_pg", "db_url=postgresql://a@h/d"]
    parsed = parse_overrides(words, KEYS)
    assert parsed.choices == {"data": "runtime_pg"}
    assert parsed.settings == {"db_url": "postgresql://a@h/d"}


@pytest.mark.parametrize("word", ["seed=3", "+seed=3", "++seed=3", "trainer.seed=3", "seed = 3"])
def test_all_spellings_of_a_setting(word: str) -> None:
    assert parse_overrides([word], KEYS).settings == {"seed": "3"}


@pytest.mark.parametrize("word", ["gradient_checkpointing", "+gradient_checkpointing"])
def test_a_bare_word_is_true(word: str) -> None:
    assert parse_overrides([word], KEYS).settings == {"gradient_checkpointing": "true"}


def test_a_dot_after_a_stage_means_its_prefix() -> None:
    parsed = parse_overrides(["grpo.beta=0.1"], keys_of(QuickstartConfig))
    assert parsed.settings == {"grpo_beta": "0.1"}


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        ("[a,b]", ["a", "b"]),
        ("a, b", ["a", "b"]),
        ("""['a, b',"c\\"d", e f]""", ["a, b", 'c"d', "e f"]),
        ("[http://h:1/v1,http://h:2]", ["http://h:1/v1", "http://h:2"]),
        ("[]", []),
        ("null", ["null"]),
    ],
)
def test_lists(value: str, elements: list[str]) -> None:
    assert parse_overrides([f"status_filters={value}"], KEYS).settings["status_filters"] == elements


def test_a_list_may_be_nothing_where_that_is_a_value() -> None:
    assert parse_overrides(["report_to=null"], KEYS).settings == {"report_to": None}


def test_an_entry_is_added_to_those_before_it() -> None:
    words = ["chat_template_kwargs={a: 1, b: x}", "chat_template_kwargs.enable_thinking=false"]
    settings = parse_overrides([*words, "+trainer.chat_template_kwargs.b=low"], KEYS).settings
    assert settings == {"chat_template_kwargs": {"a": 1, "b": "low", "enable_thinking": False}}
    with pytest.raises(AtlasError, match=r"unknown key 'prompts\.a' on the command line"):
        parse_overrides(["prompts.a=1"], KEYS)


def test_the_last_word_wins() -> None:
    parsed = parse_overrides(["seed=1", "data=a", "seed=2", "data=b"], KEYS)
    assert (parsed.settings["seed"], parsed.choices["data"]) == ("2", "b")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "learnig_rate=1",
            "unknown key 'learnig_rate' on the command line; did you mean 'learning_rate'",
        ),
        ("offloadd", "unknown key 'offloadd' on the command line"),
        ("seed", "override 'seed' has no value; write seed=value"),
        ("~seed", "override '~seed' isn't understood"),
        ("--seed=1", "override '--seed=1' isn't understood"),
        ("=1", "override '=1' isn't understood"),
        ("seed=\udc80", r"override 'seed=\\udc80' isn't understood"),
        ("run_name=\x1b[2J", "override 'run_name=.* isn't understood"),
        ("postgresql://u:secret@h/d", r"override 'postgresql://u:\*\*\*@h/d' isn't understood"),
    ],
)
def test_what_is_no_override_is_refused(word: str, message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        parse_overrides([word], KEYS)
