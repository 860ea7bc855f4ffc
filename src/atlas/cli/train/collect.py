"""``atlas collect``: a teacher and a student work through tasks; the sessions are recorded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.cli.options import Config, Fresh, Overrides, command_app
from atlas.cli.terminal import say, working
from atlas.errors import AtlasError
from atlas.run.run_dir import RunDir

if TYPE_CHECKING:
    from atlas.config import CollectConfig
    from atlas.traces.collection import Collection

app = command_app()


@app.command()
def collect(overrides: Overrides, config: Config = "collect", fresh: Fresh = False) -> None:
    """Let a teacher and a student work through tasks, and record the sessions."""
    from atlas.config import CollectConfig, load_config
    from atlas.config.parts.student import refuse_unready
    from atlas.models.presence import refuse_missing
    from atlas.run.config_file import keep_config
    from atlas.run.prompts_kept import check_prompts, keep_prompts, run_prompts

    settings = load_config(CollectConfig, config, overrides)
    models = {"teacher_model": settings.teacher_model, "student_model": settings.student_here}
    models = {key: model for key, model in models.items() if model}
    for model in models.values():
        refuse_missing(model)
    refuse_unready(settings)
    check_prompts(settings.prompts, settings.output_dir)
    if settings.tasks and not Path(settings.tasks).is_file():
        raise AtlasError(f"{settings.tasks} isn't there; name a JSONL file of tasks")

    import torch

    from atlas.environments.teaching import collect as collecting
    from atlas.models.identity import model_digests
    from atlas.run.inputs import keep_inputs
    from atlas.run.seeding import seed_everything
    from atlas.traces.collection import JsonlCollection

    tasks = collecting.tasks_to_collect(settings)
    if settings.num_threads:
        torch.set_num_threads(settings.num_threads)
    collecting.check_models(settings)
    hint = "What was recorded is kept; the same command goes on from there."
    # Whatever may be mistaken is tried before the run directory is made: from then on the
    # settings stay.
    with _given_database(settings) as db_url:
        run = RunDir.create(settings.output_dir, "collect", fresh=fresh)
        keep_config(settings, run.config)
        keep_inputs(run.path, model_digests(models), models)
        prompts = run_prompts(run.prompts, lambda: collecting.collecting_prompts(settings), say=say)
        keep_prompts(run.prompts, prompts)
        name = collecting.learning_key(settings, tasks, prompts)
        with run.lock(), _collection(settings, run, db_url, name) as collection:
            seed_everything(settings.seed, "collect")
            started = time.monotonic()
            with working(hint, run) as (stop, bar_of):
                bar = bar_of("collect")
                collecting.collect(
                    settings,
                    tasks,
                    collection,
                    learning_key=name,
                    prompts=prompts,
                    progress=bar,
                    stop=stop,
                    errors=run.student_errors,
                )
            found, place = collection.by_status(), collection.place
            if settings.output and isinstance(collection, JsonlCollection):
                collection.publish(Path(settings.output))
                place = settings.output
            run.finish_stage("collect", found, time.monotonic() - started)
    counts = ", ".join(f"{number} {status}" for status, number in sorted(found.items()))
    say(f"sessions:      {sum(found.values())}: {counts}")
    say(f"learning key:  {name}")
    say(f"place:         {place}")


@contextlib.contextmanager
def _given_database(config: CollectConfig) -> Iterator[str | None]:
    from atlas.traces.open_database import database
    from atlas.traces.postgres.connection import connect

    if config.db_url is None:
        yield None
        return
    with database(config.db_url, create=True) as db_url:
        connect(db_url).close()
        yield db_url


@contextlib.contextmanager
def _collection(
    config: CollectConfig, run: RunDir, db_url: str | None, name: str
) -> Iterator[Collection]:
    from atlas.traces.collection import JsonlCollection, PostgresCollection
    from atlas.traces.open_database import database

    if config.output:
        yield JsonlCollection(run.path / "sessions", name)
    elif db_url is not None:
        yield PostgresCollection(db_url, name)
    else:
        with database(run.postgres, create=True) as own_url:
            yield PostgresCollection(own_url, name)
