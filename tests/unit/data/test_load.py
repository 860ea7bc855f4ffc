"""From a configuration to its source, and functions of the user's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.data.sources.recorded import recorded

from atlas.config import SFTConfig
from atlas.data.load import load_trace_dataset
from atlas.data.sources.runtime_traces import get_runtime_trace_dataset
from atlas.errors import AtlasError
from atlas.traces.jsonl import write_jsonl

MINE = """\
from atlas.data.samples import Samples, TraceDataset

def mine(export_path, limit=None, *, use, other="default", **rest):
    return TraceDataset(source=f"{export_path} {limit} {use} {other} {rest}", filters={})

def strange(export_path):
    return [export_path]

def needy(export_path, tokenizer):
    raise AssertionError

number = 3
"""


@pytest.fixture
def traces(tmp_path: Path) -> str:
    """Ten sessions."""
    write_jsonl(tmp_path / "t.jsonl", [recorded(number) for number in range(10)])
    return str(tmp_path / "t.jsonl")


@pytest.fixture
def my_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's."""
    (tmp_path / "my_sources.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_sources", raising=False)
    return "my_sources"


def config(**values: Any) -> SFTConfig:
    return SFTConfig(model_name_or_path="m", **values)


def test_every_key_reaches_the_source(traces: str) -> None:
    keys: dict[str, Any] = {
        "min_reward": 0.5,
        "status_filters": ("failed", "succeeded"),
        "limit": 7,
        "eval_split_ratio": 0.4,
        "on_broken": "skip",
        "review_status_filters": ("pending",),
    }
    found = load_trace_dataset(config(dataset_path=traces, **keys), "sft")
    assert found == get_runtime_trace_dataset(traces, use="sft", **keys)
    assert found.sft.num_read == 7
    assert found.rl.num_read == 0


def test_a_run_that_goes_on_is_given_its_sessions_without_a_limit(traces: str) -> None:
    found = load_trace_dataset(
        config(export_path=traces, limit=2, eval_split_ratio=0), "sft", only_sessions={"8", "9"}
    )
    assert [dialogue.session for dialogue in found.sft.train] == ["8", "9"]


def test_no_source_says_how_to_name_one() -> None:
    with pytest.raises(AtlasError, match="nothing says what to train on; add data=runtime_traces"):
        load_trace_dataset(config(), "sft")


def test_an_allowed_function_gets_the_keys_that_it_names(my_module: str) -> None:
    target = f"{my_module}.mine"
    found = load_trace_dataset(
        config(data_source=target, allow_targets=[target], export_path="a.jsonl", limit=3), "rl"
    )
    assert found.source == "a.jsonl 3 rl default {}"


def test_a_function_that_isn_t_allowed_is_not_even_imported(my_module: str) -> None:
    with pytest.raises(AtlasError, match="is no data source that Atlas knows"):
        load_trace_dataset(config(data_source=f"{my_module}.mine", export_path="a"), "rl")
    assert my_module not in sys.modules


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("strange", "gave a list, not a TraceDataset"),
        ("needy", "needs 'tokenizer', which is no key of the data"),
        ("number", "is no function"),
        ("missing", "can't be imported: "),
    ],
)
def test_an_allowed_function_that_doesn_t_fit(my_module: str, name: str, message: str) -> None:
    target = f"{my_module}.{name}"
    with pytest.raises(AtlasError, match=message):
        load_trace_dataset(
            config(data_source=target, allow_targets=[target], export_path="a"), "rl"
        )


def test_even_an_allowed_command_is_not_run() -> None:
    with pytest.raises(AtlasError, match="needs 'command', which is no key of the data"):
        load_trace_dataset(config(data_source="os.system", allow_targets=["os.system"]), "sft")
