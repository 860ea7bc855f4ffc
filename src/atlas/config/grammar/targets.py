"""Where data may come from: the names in a YAML file -> the functions that they may mean.

A file of the guide names a function (``make_dataset_fn._target_``). Naming a function is running
code, so a name means one of the sources below or nothing; the guide's own names are aliases. A
function of the user's is allowed by ``allow_targets`` on the command line, where no file that came
from elsewhere can put it. All of this is decided before anything is imported.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from atlas.config.grammar.own_code import is_allowed
from atlas.config.grammar.schema import nearest
from atlas.errors import AtlasError


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A place that data comes from."""

    target: str
    """Module and function."""
    aliases: frozenset[str]
    """Other names for it in YAML files."""
    places: tuple[str, ...]
    """Keys that say where the data lies; the first is the one that messages ask for."""
    keys: frozenset[str]
    """All keys that it reads."""


_SPLIT = frozenset({"eval_split_ratio", "limit"})
_SESSIONS = _SPLIT | {
    *("min_reward", "status_filters", "review_status_filters", "learning_key", "keep_unverified"),
    *("lanes", "min_confidence", "certified", "min_judge"),
}

SOURCES: Mapping[str, Source] = {
    "runtime_traces": Source(
        target="atlas.data.sources.runtime_traces.get_runtime_trace_dataset",
        aliases=frozenset({"custom_data.runtime_trace_data.get_runtime_trace_dataset"}),
        places=("export_path", "dataset_path"),
        keys=_SESSIONS | {"export_path", "dataset_path", "on_broken"},
    ),
    "runtime_pg": Source(
        target="atlas.data.sources.runtime_pg.get_runtime_pg_dataset",
        aliases=frozenset(
            {
                "custom_data.runtime_pg_data.get_runtime_pg_dataset",
                "custom_data.runtime_postgres_data.get_postgres_runtime_dataset",
            }
        ),
        places=("db_url",),
        keys=_SESSIONS | {"db_url"},
    ),
    "hub": Source(
        target="atlas.data.sources.hub.get_hub_dataset",
        aliases=frozenset({"custom_data.arc_atlas_rl_data.get_arc_atlas_rl_dataset"}),
        places=("dataset_name_or_path",),
        keys=_SPLIT | {"dataset_name_or_path", "dataset_config", "dataset_files", "dataset_split"},
    ),
    "ranked": Source(
        target="atlas.data.sources.ranked.get_ranked_dataset",
        aliases=frozenset(),
        places=("ranked_path",),
        keys=_SPLIT | {"ranked_path"},
    ),
}
"""By the value of the key ``data_source``."""


def source_name(target: str, allowed: Collection[str] = ()) -> str:
    """Return the source that a name means: a key of `SOURCES`, or ``target`` where it is allowed.

    Args:
        target: What a file or the command line says.
        allowed: Functions of the user's that were allowed, word for word.

    Raises:
        AtlasError: It means none, and isn't allowed.
    """
    for name, source in SOURCES.items():
        if target == name or target == source.target or target in source.aliases:
            return name
    if is_allowed(target, allowed) and ("." in target or ":" in target):
        return target
    aliases = [alias for source in SOURCES.values() for alias in source.aliases]
    close = difflib.get_close_matches(target, [*SOURCES, *aliases], n=1)
    raise AtlasError(
        f"'{target}' is no data source that Atlas knows{nearest(target, close or SOURCES)}; a "
        "function of your own is run only if you allow it on the command line: "
        f"'allow_targets=[{target}]'"
    )
