"""Which source a configuration means."""

from __future__ import annotations

from typing import Any

import pytest

from atlas.config import SFTConfig, resolve
from atlas.errors import AtlasError


def resolved(**values: Any) -> SFTConfig:
    return resolve(SFTConfig(model_name_or_path="m", **values))


@pytest.mark.parametrize(
    ("values", "source"),
    [
        ({}, None),
        ({"export_path": "a.jsonl"}, "runtime_traces"),
        ({"dataset_path": "a.jsonl"}, "runtime_traces"),
        ({"export_path": "a.jsonl", "dataset_path": "b.jsonl"}, "runtime_traces"),
        ({"db_url": "postgresql://h/d"}, "runtime_pg"),
        ({"dataset_name_or_path": "a/b"}, "hub"),
        ({"data_source": "hub"}, "hub"),
        (
            {"data_source": "custom_data.runtime_trace_data.get_runtime_trace_dataset"},
            "runtime_traces",
        ),
        ({"data_source": "my.fn", "allow_targets": ["my.fn"], "db_url": "x", "limit": 3}, "my.fn"),
    ],
)
def test_the_source_follows_from_the_place(values: dict[str, Any], source: str | None) -> None:
    assert resolved(**values).data_source == source


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"export_path": "a.jsonl", "db_url": "postgresql://h/d"},
            "export_path and db_url name different data sources",
        ),
        (
            {"data_source": "runtime_pg", "export_path": "a.jsonl"},
            "export_path is read by runtime_traces, but the data source is runtime_pg; leave it "
            "out, or choose data=runtime_traces",
        ),
        ({"data_source": "hub", "min_reward": 0.5}, "min_reward is read by runtime_traces and"),
        ({"db_url": "postgresql://h/d", "on_broken": "skip"}, "on_broken is read by"),
        ({"data_source": "os.system"}, "'os.system' is no data source"),
    ],
)
def test_keys_of_two_sources_contradict_each_other(values: dict[str, Any], message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        resolved(**values)


def test_a_key_at_its_default_says_nothing() -> None:
    assert resolved(data_source="hub", min_reward=0.8, status_filters=["succeeded"])
