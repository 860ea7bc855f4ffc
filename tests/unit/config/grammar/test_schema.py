from __future__ import annotations

from dataclasses import dataclass, fields

import pytest

from atlas.config import JOBS, GRPOConfig, QuickstartConfig, SFTConfig, keys_of
from atlas.config.grammar.schema import convert, key, like
from atlas.config.parts.run import RunConfig
from atlas.errors import AtlasError


@pytest.mark.parametrize("job", JOBS)
def test_every_key_has_documentation_and_a_default_within_its_own_limits(job: str) -> None:
    for name, info in keys_of(JOBS[job]).items():
        assert info.doc.endswith("."), name
        assert info.is_required or convert(info, info.default) == info.default, name


@pytest.mark.parametrize("job", JOBS)
def test_key_job_names_its_class(job: str) -> None:
    assert keys_of(JOBS[job])["job"].default == job


def test_defaults_of_the_guide() -> None:
    sft, grpo = keys_of(SFTConfig), keys_of(GRPOConfig)
    expected_sft = {
        "learning_rate": 2e-5,
        "num_train_epochs": 1.0,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 8,
        "warmup_ratio": 0.1,
        "output_dir": "checkpoints/sft",
        "min_reward": 0.8,
        "status_filters": ("succeeded",),
        "eval_split_ratio": 0.1,
    }
    expected_grpo = {
        "learning_rate": 5e-7,
        "beta": 0.04,
        "temperature": 0.7,
        "top_p": 0.95,
        "num_generations": 32,
        "max_new_tokens": 512,
        "warmup_ratio": 0.1,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "gradient_accumulation_steps": 4,
        "output_dir": "checkpoints/grpo",
    }
    assert {name: sft[name].default for name in expected_sft} == expected_sft
    assert {name: grpo[name].default for name in expected_grpo} == expected_grpo


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("learning_rate", "2e-5", 2e-5),
        ("learning_rate", 1, 1.0),
        ("max_steps", "12", 12),
        ("mask_truncated_completions", "False", False),
        ("db_url", "null", None),
        ("loss_type", "gspo", "gspo"),
    ],
)
def test_convert_brings_values_to_their_type(name: str, value: object, expected: object) -> None:
    converted = convert(keys_of(GRPOConfig)[name], value)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("learning_rate", 0, "learning_rate must be a number above 0, but it is 0"),
        ("learning_rate", float("nan"), "learning_rate must be a number above 0"),
        ("learning_rate", "fast", "learning_rate must be a number above 0, but it is 'fast'"),
        ("learning_rate", True, "learning_rate must be a number above 0, but it is True"),
        ("num_generations", 1, "num_generations must be an integer of at least 2, but it is 1"),
        ("num_generations", 4.0, "num_generations must be an integer of at least 2"),
        ("top_p", 1.01, "top_p must be a number above 0 and of at most 1"),
        ("top_p", 0, "top_p must be a number above 0 and of at most 1"),
        ("beta", -0.1, "beta must be a number of at least 0"),
        ("mask_truncated_completions", 1, "must be true or false"),
        ("environment", None, "environment must be text, but it is null"),
        ("environment", "", "environment must be text"),
        ("loss_type", "dapoo", "one of grpo, dapo, .*; did you mean 'dapo'?"),
        ("output_dir", {"a": 1}, "output_dir must be text"),
    ],
)
def test_convert_names_key_expectation_and_value(name: str, value: object, message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        convert(keys_of(GRPOConfig)[name], value)


def test_convert_names_the_place() -> None:
    info = keys_of(GRPOConfig)["beta"]
    with pytest.raises(AtlasError, match=r"beta must be .*, but configs/run/a.yaml says -1$"):
        convert(info, -1, "configs/run/a.yaml")


def test_lists_become_tuples_and_are_never_empty() -> None:
    info = keys_of(QuickstartConfig)["families"]
    assert convert(info, ["chain_sum"]) == ("chain_sum",)
    assert convert(info, "chain_sum") == ("chain_sum",)
    with pytest.raises(AtlasError, match="families must be a list, each text"):
        convert(info, [])
    with pytest.raises(AtlasError, match="families must be a list, each text"):
        convert(info, ["chain_sum", 3])


@pytest.mark.parametrize(
    "value",
    [
        "{reasoning_effort: low, enable_thinking: false}",
        "enable_thinking: false\nreasoning_effort: low",
        {"reasoning_effort": "low", "enable_thinking": False},
    ],
)
def test_names_with_values_come_from_text_and_files(value: object) -> None:
    found = convert(keys_of(GRPOConfig)["chat_template_kwargs"], value)
    assert list(found.items()) == [("enable_thinking", False), ("reasoning_effort", "low")]


@pytest.mark.parametrize("value", ["low", "{}", "{a: [1]}", "{a: null}", "{a: {b: 1}}", "{a", 3])
def test_names_with_anything_but_plain_values_are_refused(value: object) -> None:
    message = "chat_template_kwargs must be names with text, numbers, true or false, as in "
    with pytest.raises(AtlasError, match=message):
        convert(keys_of(GRPOConfig)["chat_template_kwargs"], value)


def test_a_configuration_made_in_python_is_checked_and_brought_to_type() -> None:
    made = GRPOConfig(model_name_or_path="a", student_model="b", learning_rate=1)
    assert repr(made.learning_rate) == "1.0"
    with pytest.raises(AtlasError, match="num_generations"):
        GRPOConfig(model_name_or_path="a", student_model="b", num_generations=1)


def test_like_takes_limits_and_doc_along() -> None:
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Larger(RunConfig):
        output_dir: str = like(RunConfig, "output_dir", "here")
        grpo_top_p: float = like(GRPOConfig, "top_p", 0.5)
        other_top_p: float = like(GRPOConfig, "top_p", 0.5, "Of another kind.")

    assert Larger().grpo_top_p == 0.5
    assert keys_of(Larger)["grpo_top_p"].doc == keys_of(GRPOConfig)["top_p"].doc
    assert keys_of(Larger)["other_top_p"].doc == "Of another kind."
    with pytest.raises(AtlasError, match="grpo_top_p must be a number above 0"):
        Larger(grpo_top_p=0.0)


def test_a_default_outside_its_limits_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Wrong(RunConfig):
        output_dir: str = like(RunConfig, "output_dir", "here")
        share: float = key(2.0, "A share.", le=1)

    with pytest.raises(AtlasError, match=r"share must be a number of at most 1, but it is 2\.0"):
        Wrong()


def test_a_masked_url_is_refused() -> None:
    with pytest.raises(AtlasError, match=r"password in db_url of config\.yaml was taken out"):
        convert(keys_of(SFTConfig)["db_url"], "postgresql://a:***@h/d", "config.yaml")


def test_every_field_is_declared_with_its_metadata() -> None:
    for config_class in JOBS.values():
        for field in fields(config_class):
            assert {"doc", "limits", "secret", "null"} == set(field.metadata), field.name


def test_auto_is_the_word_for_what_something_else_decides() -> None:
    keys = keys_of(GRPOConfig)
    info = keys["gradient_checkpointing"]
    assert (info.expected, info.default_text) == ("true or false, or auto", "auto")
    assert [convert(info, word) for word in ("auto", "null", "true")] == [None, None, True]
    assert convert(keys["max_tokens_per_micro_batch"], "auto") is None
    # Elsewhere it is a word like others.
    assert convert(keys["engine"], "auto") == "auto"
    with pytest.raises(AtlasError, match="evaluate_tasks must be an integer"):
        convert(keys["evaluate_tasks"], "auto")
