"""The five stages of the quickstart, each a function of the run directory and the configuration.

Input of each stage: what the stages before it left in the run directory. Output: files there, and
a summary. Nothing is passed on in memory, so that any stage can be done again alone.

    collect   tasks, base model       -> PostgreSQL in pg/
    sft       good sessions           -> sft/final
    grpo      tasks of all sessions   -> grpo/final
    evaluate  held-out tasks          -> eval/pairs.jsonl, eval/claims.json
    report    the run directory       -> report.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from atlas.config.collect import CollectConfig
from atlas.config.evaluate import EvaluateConfig
from atlas.config.grpo import GRPOConfig
from atlas.config.quickstart import QuickstartConfig
from atlas.config.resolve import resolve, section
from atlas.config.sft import SFTConfig
from atlas.data.sources.runtime_pg import get_runtime_pg_dataset
from atlas.data.tasks import check_disjoint, mixed_tasks
from atlas.data.training_sets import RLSet, rl_set, sft_set, teachers_renderer
from atlas.environments.teaching.collect import collect as record_sessions
from atlas.environments.teaching.collect import collecting_prompts, tasks_to_collect
from atlas.evaluation.measuring import evaluate as measure_arms
from atlas.models.identity import model_digests
from atlas.report import write_report
from atlas.report.card import write_cards
from atlas.report.success import success_lines
from atlas.run.config_file import save_config
from atlas.run.inputs import keep_inputs
from atlas.run.lineage import write_lineage
from atlas.run.progress import Progress
from atlas.run.prompts_kept import keep_prompts
from atlas.run.run_dir import RunDir
from atlas.run.seeding import derive_seed
from atlas.run.stopping import StopRequest
from atlas.traces.collection import PostgresCollection
from atlas.traces.embedded.server import EmbeddedPostgres
from atlas.training.grpo import train_grpo
from atlas.training.sft import train_sft
from atlas.types import Task

Stage = Callable[["Quickstart", Progress, StopRequest], Mapping[str, Any]]

_COLLECT_CHUNK = 200
_EVAL_CHUNK = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Quickstart:
    """What every stage is given."""

    run: RunDir
    config: QuickstartConfig

    @property
    def learning_key(self) -> str:
        """Names this run's sessions in the database."""
        return f"quickstart-{self.config.seed}"


def collect(job: Quickstart, progress: Progress, stop: StopRequest) -> Mapping[str, Any]:
    """Record a session of the untrained teacher and the student on every task."""
    config = section(
        job.config,
        "collect",
        CollectConfig,
        tasks=None,  # here collect_tasks is a number
        num_tasks=job.config.collect_tasks,
        prompts=job.config.collect_prompts or job.config.prompts,
        teacher_model=job.config.model_name_or_path,
        student_model=job.config.model_name_or_path,
        output_dir=str(job.run.path),
        chunk_size=_COLLECT_CHUNK,
    )
    tasks, prompts = tasks_to_collect(config), collecting_prompts(config)
    with EmbeddedPostgres.start(job.run.postgres) as server:
        collection = PostgresCollection(server.db_url, job.learning_key)
        record_sessions(
            config,
            tasks,
            collection,
            learning_key=job.learning_key,
            prompts=prompts,
            progress=progress,
            stop=stop,
        )
        found = collection.by_status()
    return {"sessions": sum(found.values()), "succeeded": found.get("succeeded", 0)}


def sft(job: Quickstart, progress: Progress, stop: StopRequest) -> Mapping[str, Any]:
    """Warm the teacher up on the good sessions, read back from the database."""
    run = job.run.sub("sft")
    config = section(
        job.config,
        "sft",
        SFTConfig,
        model_name_or_path=job.config.model_name_or_path,
        output_dir=str(run.path),
    )
    save_config(config, run.config)
    with EmbeddedPostgres.start(job.run.postgres) as server:
        dataset = get_runtime_pg_dataset(
            server.db_url,
            eval_split_ratio=config.eval_split_ratio,
            min_reward=config.min_reward,
            status_filters=config.status_filters,
            learning_key=job.learning_key,
            use="sft",
        )
    renderer = teachers_renderer(config, run.prompts, say=run.teller("sft", progress))
    made = sft_set(dataset, renderer, max_length=config.max_seq_length)
    keep_prompts(run.prompts, renderer.prompts)
    write_lineage(run.path, made.lineage)
    figures = train_sft(run, config, made.train, made.held, progress=progress, stop=stop)
    _tell_success(run, progress)
    return {"sessions": dataset.sft.num_read, **figures}


def grpo(job: Quickstart, progress: Progress, stop: StopRequest) -> Mapping[str, Any]:
    """Reinforce the teacher on the tasks of all sessions, failed ones too."""
    run = job.run.sub("grpo")
    config = resolve(
        section(
            job.config,
            "grpo",
            GRPOConfig,
            model_name_or_path=str(job.run.path / "sft" / "final"),
            student_model=job.config.model_name_or_path,
            output_dir=str(run.path),
        )
    )
    save_config(config, run.config)
    named = {"model_name_or_path": config.model_name_or_path}
    keep_inputs(run.path, model_digests(named), named)
    made = recorded_tasks(job)
    write_lineage(run.path, made.lineage)
    canary = mixed_tasks(
        job.config.families,
        config.canary_tasks,
        seed=derive_seed(job.config.seed, "canary"),
        split="held_out",
    )
    figures = train_grpo(run, config, made.tasks, progress=progress, stop=stop, canary=canary)
    _tell_success(run, progress)
    return {"tasks": len(made.tasks), **figures}


def _tell_success(run: RunDir, progress: Progress) -> None:
    """Say which of the guide's marks of success a training meets."""
    tell = run.teller(run.kind, progress)
    for line in success_lines(run.path, run.kind):
        tell(line)


def evaluate(job: Quickstart, progress: Progress, stop: StopRequest) -> Mapping[str, Any]:
    """Measure both teachers on held-out tasks, with the sampling of the training."""
    config, arms, held_out = measured(job)
    check_disjoint(held_out, recorded_tasks(job).tasks)
    return measure_arms(job.run, config, arms, held_out, progress=progress, stop=stop)


def measured(job: Quickstart) -> tuple[EvaluateConfig, dict[str, str], list[Task]]:
    """Return how the teachers are measured, their folders by name, and on what."""
    config = job.config
    held_out = mixed_tasks(
        config.families,
        config.eval_tasks,
        seed=derive_seed(config.seed, "held out"),
        split="held_out",
    )
    arms = {arm: str(job.run.path / arm / "final") for arm in ("sft", "grpo")}
    evaluation = section(
        config,
        "evaluate",
        EvaluateConfig,
        teachers=tuple(arms.values()),
        student_model=config.model_name_or_path,
        output_dir=str(job.run.path),
        temperature=config.grpo_temperature
        if config.eval_temperature is None
        else config.eval_temperature,
        top_p=config.grpo_top_p,
        chunk_size=_EVAL_CHUNK,
    )
    return evaluation, arms, held_out


def report(job: Quickstart, progress: Progress, stop: StopRequest) -> Mapping[str, Any]:
    """Write the page, and the cards of the models."""
    progress.begin(1)
    page = write_report(job.run.path)
    write_cards(job.run.path)
    progress.advance()
    return {"page": page.name}


STAGES: Mapping[str, Stage] = {
    "collect": collect,
    "sft": sft,
    "grpo": grpo,
    "evaluate": evaluate,
    "report": report,
}
"""In the order that they run in."""


def recorded_tasks(job: Quickstart) -> RLSet:
    """Return the tasks of all sessions of this run, failed ones too.

    None is held out: the evaluation has tasks of its own.

    Raises:
        AtlasError: None was recorded.
    """
    with EmbeddedPostgres.start(job.run.postgres) as server:
        dataset = get_runtime_pg_dataset(
            server.db_url, eval_split_ratio=0.0, learning_key=job.learning_key, use="rl"
        )
    return rl_set(dataset)
