"""JSONL files as a source."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.data.sources.recorded import recorded

from atlas.data.sources.runtime_traces import get_runtime_trace_dataset
from atlas.errors import AtlasError
from atlas.traces.jsonl import write_jsonl


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """Three good sessions and a bad one, gzipped."""
    path = tmp_path / "traces.jsonl.gz"
    write_jsonl(path, [recorded(number, good=number != 2) for number in (1, 2, 3, 4)])
    return path


def test_the_guide_s_call(traces: Path) -> None:
    dataset = get_runtime_trace_dataset(export_path=traces, eval_split_ratio=0.0)
    assert [dialogue.session for dialogue in dataset.sft.train] == ["1", "3", "4"]
    assert len(dataset.rl.train) == 4
    assert dataset.source == str(traces)


def test_either_name_of_the_path_is_accepted(traces: Path) -> None:
    one = get_runtime_trace_dataset(export_path=traces)
    assert get_runtime_trace_dataset(dataset_path=str(traces)) == one
    assert get_runtime_trace_dataset(traces, traces) == one


def test_two_different_paths_and_none_are_refused(traces: Path) -> None:
    with pytest.raises(AtlasError, match=r"export_path=a\.jsonl and dataset_path=b\.jsonl name"):
        get_runtime_trace_dataset("a.jsonl", "b.jsonl")
    with pytest.raises(AtlasError, match="give export_path"):
        get_runtime_trace_dataset()
    with pytest.raises(AtlasError, match="can't read nowhere"):
        get_runtime_trace_dataset("nowhere.jsonl")


def test_broken_lines_stop_or_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    write_jsonl(path, [recorded(1), recorded(2)])
    path.write_text(path.read_text() + "{\n\n[]\n")
    with pytest.raises(AtlasError, match=r"traces\.jsonl, line 3"):
        get_runtime_trace_dataset(path)
    dataset = get_runtime_trace_dataset(path, on_broken="skip", eval_split_ratio=0.0)
    assert dataset.sft.left_out == dataset.rl.left_out == {"broken lines": 2}
    assert len(dataset.sft.train) == len(dataset.rl.train) == 2
    assert get_runtime_trace_dataset(path, on_broken="skip", limit=1).sft.num_read == 1
