"""``atlas collect``: a teacher and a student work through tasks; the sessions are recorded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from atlas.cli.terminal import StageBar, console, display, stoppable
from atlas.config.collect import CollectConfig
from atlas.config.grammar.compose import load_config
from atlas.environments.teaching.collect import (
    check_models,
    collect,
    learning_key,
    tasks_to_collect,
)
from atlas.run.config_file import keep_config
from atlas.run.run_dir import RunDir
from atlas.run.seeding import seed_everything
from atlas.traces.collection import Collection, JsonlCollection, PostgresCollection
from atlas.traces.open_database import database
from atlas.traces.postgres.connection import connect
from atlas.types import Task


def run(overrides: Sequence[str], *, fresh: bool, source: str = "collect") -> None:
    """Run the command."""
    config = load_config(CollectConfig, source, overrides)
    tasks = tasks_to_collect(config)
    name = learning_key(config, tasks)
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    check_models(config)
    # Whatever may be mistaken is tried before the run directory is made: from then on the
    # settings stay.
    with _given_database(config) as db_url:
        run_dir = RunDir.create(config.output_dir, "collect", fresh=fresh)
        keep_config(config, run_dir.config)
        with run_dir.lock(), _collection(config, run_dir, db_url, name) as collection:
            found, place = _collect(config, tasks, collection, name, run_dir)
    show(found, place, name)


def _collect(
    config: CollectConfig,
    tasks: Sequence[Task],
    collection: Collection,
    name: str,
    run_dir: RunDir,
) -> tuple[Mapping[str, int], str]:
    """Record what is missing; return the sessions by status, and where they are."""
    seed_everything(config.seed, "collect")
    started = time.monotonic()
    hint = "What was recorded is kept; the same command goes on from there."
    with stoppable(hint) as stop, display() as bars:
        bar = StageBar(bars, "collect")
        collect(config, tasks, collection, learning_key=name, progress=bar, stop=stop)
    found, place = collection.by_status(), collection.place
    if config.output and isinstance(collection, JsonlCollection):
        collection.publish(Path(config.output))
        place = config.output
    run_dir.finish_stage("collect", found, time.monotonic() - started)
    return found, place


@contextlib.contextmanager
def _given_database(config: CollectConfig) -> Iterator[str | None]:
    if config.db_url is None:
        yield None
        return
    with database(config.db_url, create=True) as db_url:
        connect(db_url).close()
        yield db_url


@contextlib.contextmanager
def _collection(
    config: CollectConfig, run_dir: RunDir, db_url: str | None, name: str
) -> Iterator[Collection]:
    if config.output:
        yield JsonlCollection(run_dir.path / "sessions", name)
    elif db_url is not None:
        yield PostgresCollection(db_url, name)
    else:
        with database(run_dir.postgres, create=True) as own_url:
            yield PostgresCollection(own_url, name)


def show(found: Mapping[str, int], place: str, name: str) -> None:
    """Print what there is now."""
    counts = ", ".join(f"{number} {status}" for status, number in sorted(found.items()))
    console.print(f"sessions:      {sum(found.values())}: {counts}", markup=False)
    console.print(f"learning key:  {name}", markup=False, soft_wrap=True)
    console.print(f"place:         {place}", markup=False, soft_wrap=True)
