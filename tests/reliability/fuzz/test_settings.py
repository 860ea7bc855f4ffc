"""Settings: YAML, the words of a command, judges' files, DeepSpeed's, addresses of databases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.reliability.fuzz.broken import damaged, documents, fuzz, mutated, refused, texts, values

from atlas.config import JOBS, QuickstartConfig, SFTConfig, compose_config, explain, to_yaml
from atlas.config.grammar.compose import job_of
from atlas.config.grammar.overrides import parse_overrides
from atlas.config.grammar.schema import keys_of
from atlas.config.parts.answers import check_answer_format
from atlas.config.parts.engine import read_deepspeed_file, zero_stage
from atlas.config.rim import load_rim_config, parse_rim_config
from atlas.masking import mask_secrets
from atlas.parallel.engine.deepspeed_settings import RunSettings, deepspeed_settings
from atlas.run.config_file import keep_config
from atlas.traces.postgres.connection import describe
from atlas.yaml_file import parse_yaml, read_yaml

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
RUN: dict[str, Any] = {
    "job": "sft",
    "defaults": [{"override /data": "runtime_traces"}, "_self_"],
    "make_dataset_fn": {
        "_target_": "custom_data.runtime_trace_data.get_runtime_trace_dataset",
        "export_path": "traces.jsonl",
        "eval_split_ratio": 0.1,
    },
    "model_name_or_path": "base",
    "learning_rate": 1e-4,
    "lora_target_modules": ["q_proj"],
    "output_dir": "run",
    "seed": 1,
}
JUDGES: dict[str, Any] = yaml.safe_load((CONFIGS / "rim_config.yaml").read_text())
DEEPSPEED: dict[str, Any] = json.loads((CONFIGS / "deepspeed" / "zero2.json").read_text())
WORDS = (
    *("seed=1", "+seed=2", "data=runtime_pg", "/data@_global_=runtime_pg", "trainer.beta=0.1"),
    *("+override", "/data@_global_:", "runtime_pg", "gradient_checkpointing", "report_to=[wandb]"),
    *("lora_target_modules=[a,'b,c',\"d]", "output_dir=${seed}", "make_dataset_fn.limit=3", "="),
)
KEYS = keys_of(SFTConfig)


def yaml_text(content: object) -> str:
    return yaml.safe_dump(content, allow_unicode=True)


@fuzz()
@given(documents(RUN))  # JSON, of which most is YAML
def test_yaml(content: bytes) -> None:
    read = refused(parse_yaml, content.decode("utf-8", "replace"), "own.yaml")
    assert read is None or isinstance(read, dict)


@fuzz()
@given(st.data())
def test_a_yaml_file(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes(data.draw(damaged(yaml_text(RUN).encode())))
    refused(read_yaml, path)


@fuzz()
@given(mutated(RUN), st.lists(st.sampled_from(WORDS) | texts, max_size=2))
def test_a_run_file_composes(
    tmp_path_factory: pytest.TempPathFactory, content: Any, words: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "run.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")
    refused(job_of, path)
    composed = refused(compose_config, SFTConfig, path, words)
    if composed is not None:
        explain(composed.config, composed.origins)
        saved = parse_yaml(to_yaml(composed.config), "saved")
        again = path.with_name("again.yaml")
        again.write_text(to_yaml(composed.config), encoding="utf-8")
        assert to_yaml(compose_config(SFTConfig, again).config) == to_yaml(composed.config), saved


@fuzz()
@given(st.lists(st.sampled_from(WORDS) | texts, max_size=4))
def test_words_of_the_command_line(words: list[str]) -> None:
    refused(parse_overrides, words, KEYS)


@fuzz()
@given(st.sampled_from(sorted(JOBS)), st.data(), values)
def test_a_value_of_any_key(job: str, data: st.DataObject, value: Any) -> None:
    keys = keys_of(JOBS[job])
    name = data.draw(st.sampled_from(sorted(keys)))
    required = {key: "x" for key, info in keys.items() if info.is_required}
    refused(JOBS[job], **{**required, name: value})


@fuzz()
@given(st.data())
def test_what_a_run_was_begun_with(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    config = QuickstartConfig()
    content = data.draw(damaged(to_yaml(config).encode()) | documents({"seed": 1, "beta": [0.1]}))
    path.write_bytes(content)
    for override in (False, True):
        refused(keep_config, config, path, override=override)


@fuzz()
@given(mutated(JUDGES))
def test_judges(content: Any) -> None:
    config = refused(parse_rim_config, content)
    assert config is None or config.active


@fuzz()
@given(st.data())
def test_a_file_of_judges(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "judges.yaml"
    path.write_bytes(data.draw(damaged(yaml_text(JUDGES).encode())))
    refused(load_rim_config, path)


@fuzz()
@given(documents(DEEPSPEED))
def test_deepspeeds_file(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "zero.json"
    path.write_bytes(content)
    keys = RunSettings(
        precision="auto",
        max_grad_norm=1.0,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        num_processes=2,
        offload=True,
    )
    refused(zero_stage, str(path))
    read = refused(read_deepspeed_file, str(path))
    if read is not None:
        refused(deepspeed_settings, read, keys, path=str(path))


PLANTED = "Pl4nted"


@fuzz()
@given(
    st.sampled_from(["postgresql://u:{}@h/d", "postgres://u:{}@h:1/d?x=y", "host=h password={}"]),
    st.text("@/:?#%& ='\"\\[]ab\n", max_size=4),
    st.text("@/:?#%& ='\"\\[]ab\n", max_size=4),
)
def test_no_part_of_a_password_is_shown(form: str, before: str, after: str) -> None:
    url = form.format(f"{before}{PLANTED}{after}")
    try:
        said = refused(describe, url) or ""
    except AssertionError as error:
        raise AssertionError("what is said isn't one line") from error
    assert PLANTED not in said or "://" not in form, url


@fuzz()
@given(
    st.sampled_from(["postgresql://u:{}@h/d", "https://{}@h/v1", "https://h/?api_key={}"]),
    st.text("/?#%&=ab", max_size=3),
)
def test_no_part_of_a_secret_is_left_by_masking(form: str, before: str) -> None:
    if form.startswith("https://{}"):
        before = "".join(mark for mark in before if mark.isalnum())
    said = f"error: {form.format(before + PLANTED)}: refused"
    assert PLANTED not in mask_secrets(said)


@fuzz()
@given(texts | values)
def test_any_address_of_a_database(text: Any) -> None:
    if isinstance(text, str):
        refused(describe, text)
        mask_secrets(text)


@fuzz()
@given(values | texts.map(lambda text: f"regex:{text}") | texts.map(lambda text: f"json:{text}"))
def test_a_format_of_answers(value: Any) -> None:
    refused(check_answer_format, value)
