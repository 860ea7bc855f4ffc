"""Configuration of what a teacher is trained on: one source, and which of its sessions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self, TypeVar

from atlas.config.grammar.schema import key, keys_of
from atlas.config.grammar.targets import SOURCES, source_name
from atlas.config.parts.own_code import OwnCodeConfig
from atlas.errors import AtlasError

OnBroken = Literal["error", "skip"]


@dataclass(frozen=True, kw_only=True)
class DataConfig(OwnCodeConfig):
    """A training on data of one source; ``make_dataset_fn`` of a YAML file sets the same keys."""

    data_source: str | None = key(
        None,
        "Where the data comes from: runtime_traces, runtime_pg, hub or ranked. Left out, it "
        "follows from export_path, db_url, dataset_name_or_path or ranked_path.",
    )
    export_path: str | None = key(
        None, "JSONL file of sessions, gzipped if it ends in .gz (runtime_traces)."
    )
    dataset_path: str | None = key(None, "Another name for export_path.")
    db_url: str | None = key(
        None,
        "PostgreSQL that the sessions are in: postgresql://user:password@host/name (runtime_pg).",
        secret=True,
    )
    dataset_name_or_path: str | None = key(
        None, "Data set of the Hugging Face hub, or a local folder or file (hub)."
    )
    dataset_config: str | None = key(None, "Which configuration of that data set, by its name.")
    dataset_files: str | None = key(None, "Which files of that data set, as a path or pattern.")
    dataset_split: str = key("train", "Which split of that data set is read.")
    ranked_path: str | None = key(
        None,
        "File of prompts with ranked responses (ranked): SFT learns the best one, GRPO takes the "
        "prompts.",
    )
    min_reward: float = key(
        0.8, "Only sessions with at least this reward are learned from by SFT.", ge=0, le=1
    )
    status_filters: tuple[str, ...] = key(
        ("succeeded",), "Only sessions with one of these states are learned from by SFT."
    )
    review_status_filters: tuple[str, ...] | None = key(
        None, "Only sessions with one of these review states are used, such as approved."
    )
    learning_key: str | None = key(None, "Only sessions that were recorded under this key.")
    lanes: tuple[str, ...] | None = key(
        None, "Only sessions that ran in one of these lanes, such as paired or coach."
    )
    min_confidence: float | None = key(
        None, "Only sessions in which the probe was at least so confident.", ge=0, le=1
    )
    certified: bool | None = key(
        None, "true: only certification runs; false: only sessions that are none."
    )
    min_judge: Mapping[str, bool | int | float | str] | None = key(
        None,
        "Only sessions that these judges gave at least so much are learned from by SFT, as in "
        "{helpfulness: 0.7}.",
    )
    keep_unverified: bool | None = key(
        None,
        "Tasks without a reference answer stay prompts of RL; null: where the reward does without "
        "one, as rim_offline does.",
    )
    limit: int | None = key(None, "At most so many sessions or rows; null reads all.", ge=1)
    on_broken: OnBroken = key(
        "error", "A broken line of a JSONL file: stop there, or skip and count it."
    )
    eval_split_ratio: float = key(
        0.1,
        "Share of the tasks, chosen by hash, that is held out with all of their sessions.",
        ge=0,
        lt=1,
    )

    def resolved(self, given: Collection[str], world_size: int) -> Self:
        """Fill ``data_source`` in, and refuse keys that this source doesn't read."""
        del given, world_size
        for name, bound in (self.min_judge or {}).items():
            if isinstance(bound, bool | str):
                raise AtlasError(f"min_judge.{name} must be a number, but it is {bound}")
        return resolve_source(self)


D = TypeVar("D", bound=DataConfig)
DATA_KEYS = frozenset(keys_of(DataConfig))


def resolve_source(config: D) -> D:
    """Fill ``data_source`` in with the name of a source, and refuse keys that it doesn't read.

    Raises:
        AtlasError: It names no source; two places are given; a key is for another source.
    """
    places = {
        place: name
        for name, source in SOURCES.items()
        for place in source.places
        if getattr(config, place) is not None
    }
    if config.data_source is not None:
        name = source_name(config.data_source, config.allow_targets or ())
    elif len(set(places.values())) > 1:
        raise AtlasError(
            f"{' and '.join(places)} name different data sources; give one of them, or data_source"
        )
    else:
        name = next(iter(places.values()), None)
    if name is not None and name in SOURCES:
        _refuse_unread(config, name)
    return replace(config, data_source=name)


def _refuse_unread(config: DataConfig, name: str) -> None:
    """Refuse a key that only another source reads; at its default it says nothing."""
    for unread in sorted(DATA_KEYS - SOURCES[name].keys - {"data_source", "allow_targets"}):
        if getattr(config, unread) == keys_of(DataConfig)[unread].default:
            continue
        owners = [other for other, source in SOURCES.items() if unread in source.keys]
        raise AtlasError(
            f"{unread} is read by {' and '.join(owners)}, but the data source is {name}; leave it "
            f"out, or choose data={owners[0]}"
        )
