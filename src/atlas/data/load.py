"""The configured source, called: configuration -> `TraceDataset`.

Which function that is was decided, and held against the allow-list, when the configuration was
resolved (config/grammar/targets.py); only then is it imported. It gets those keys that its
signature names.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

from atlas.config.grammar.own_code import load_named
from atlas.config.grammar.targets import SOURCES
from atlas.config.parts.data import DATA_KEYS, DataConfig, resolve_source
from atlas.data.samples import TraceDataset, Use, restricted
from atlas.errors import AtlasError


def load_trace_dataset(
    config: DataConfig, use: Use, *, only_sessions: Collection[str] | None = None
) -> TraceDataset:
    """Return what the configured source gives.

    Args:
        only_sessions: No other session counts, and no limit: those that a run was begun with.

    Raises:
        AtlasError: No source is configured, it isn't allowed, or it can't give the data.
    """
    name = resolve_source(config).data_source
    if name is None:
        raise AtlasError(
            "nothing says what to train on; add data=runtime_traces "
            "export_path=…, data=runtime_pg db_url=…, data=hub dataset_name_or_path=… or "
            "data=ranked ranked_path=…"
        )
    function = load_named("data_source", SOURCES[name].target if name in SOURCES else name)
    taken = _parameters(function, name)
    given: dict[str, Any] = {key: getattr(config, key) for key in sorted(DATA_KEYS & taken)}
    given |= {"use": use} if "use" in taken else {}
    if only_sessions is not None:
        given |= {"limit": None} if "limit" in taken else {}
        given |= {"only_sessions": only_sessions} if "only_sessions" in taken else {}
    dataset = function(**given)
    if not isinstance(dataset, TraceDataset):
        raise AtlasError(
            f"data_source {name} gave a {type(dataset).__name__}, not a TraceDataset of "
            "atlas.data.samples"
        )
    return dataset if only_sessions is None else restricted(dataset, only_sessions)


def _parameters(function: Callable[..., object], name: str) -> frozenset[str]:
    """Return the names that a function takes; refuse one that needs what isn't there."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        raise AtlasError(f"data_source {name} is no function that Atlas can call") from None
    known = DATA_KEYS | {"use", "only_sessions"}
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = {key: value for key, value in parameters.items() if value.kind not in kinds}
    for key, value in named.items():
        if key not in known and value.default is inspect.Parameter.empty:
            raise AtlasError(f"data_source {name} needs '{key}', which is no key of the data")
    return frozenset(named) & known
