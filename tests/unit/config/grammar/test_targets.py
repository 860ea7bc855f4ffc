"""Names in a file mean a source that Atlas knows, or nothing."""

from __future__ import annotations

import importlib
import inspect

import pytest

from atlas.config.grammar.targets import SOURCES, source_name
from atlas.config.parts.data import DATA_KEYS
from atlas.errors import AtlasError


@pytest.mark.parametrize("name", SOURCES)
def test_every_name_of_a_source_means_it(name: str) -> None:
    source = SOURCES[name]
    for target in (name, source.target, *source.aliases):
        assert source_name(target) == name


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_is_a_function_that_takes_the_keys_that_it_reads(name: str) -> None:
    module, _, function = SOURCES[name].target.rpartition(".")
    taken = inspect.signature(getattr(importlib.import_module(module), function)).parameters
    assert SOURCES[name].keys == DATA_KEYS & taken.keys()
    assert set(SOURCES[name].places) <= SOURCES[name].keys


def test_every_key_of_the_data_is_read_by_a_source() -> None:
    read = frozenset().union(*(source.keys for source in SOURCES.values()))
    assert read == DATA_KEYS - {"data_source", "allow_targets"}


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.run",
        "atlas.data.sources.runtime_traces.os.system",
        "custom_data.runtime_trace_data.get_runtime_trace_dataset ",
        "custom_data.runtime_trace_data",
        "runtime_traces.get_runtime_trace_dataset",
        "",
        "..",
    ],
)
def test_any_other_name_is_refused(target: str) -> None:
    with pytest.raises(AtlasError, match="is no data source that Atlas knows") as caught:
        source_name(target, ["my_pkg.my_fn"])
    assert f"allow_targets=[{target}]" in str(caught.value)


def test_the_nearest_is_named() -> None:
    with pytest.raises(AtlasError, match="did you mean 'runtime_traces'"):
        source_name("runtime_trace")
    with pytest.raises(AtlasError, match="there are: runtime_traces, runtime_pg, hub, ranked;"):
        source_name("os.system")


def test_only_what_was_allowed_word_for_word_is_run() -> None:
    assert source_name("my_pkg.my_fn", ["my_pkg.my_fn"]) == "my_pkg.my_fn"
    for target in ("my_pkg.my_fn2", "my_pkg", "my_pkg.my_fn.x"):
        with pytest.raises(AtlasError):
            source_name(target, ["my_pkg.my_fn"])
    with pytest.raises(AtlasError):
        source_name("eval", ["eval"])
