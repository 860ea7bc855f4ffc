"""``train_atlas.py``: a model from random weights, from the configuration to ``models/atlas_*``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.cli.options import Fresh, Overrides, command_app
from atlas.cli.terminal import say, show_table, working
from atlas.errors import AtlasError
from atlas.json_file import read_json
from atlas.run.files import require_free_space, write_atomic
from atlas.run.links import publish, refuse_foreign
from atlas.run.run_dir import RunDir

if TYPE_CHECKING:
    from atlas.config import RankedConfig
    from atlas.data.ranked import RankedRecord
    from atlas.from_scratch.planning import FittingPlan, MemorySettings
    from atlas.from_scratch.stages import FromScratch

LOGS = {"training.log": "training.log", "tensorboard": "tensorboard"}
_SMALL = 20_000_000
"""Below so many parameters the guide's learning rate hardly moves anything."""


app = command_app()


@app.command()
def ranked(
    overrides: Overrides,
    config: Annotated[str, typer.Option(help="A JSON or YAML file")] = "train_config.json",
    resume: Annotated[
        bool, typer.Option("--resume", help="Insist that there is a run to go on with")
    ] = False,
    fresh: Fresh = False,
) -> None:
    """Train a model from random weights on ranked responses, into models/atlas_<size>."""
    from atlas.config import RankedConfig, load_config

    settings = load_config(RankedConfig, config, overrides)
    records, validation = _data(settings)

    import torch

    from atlas.from_scratch.planning import longest_of, plan_run
    from atlas.from_scratch.stages import stages_of
    from atlas.report.card import write_cards
    from atlas.run.stages import run_stages

    if settings.num_threads:
        torch.set_num_threads(settings.num_threads)
    plan = plan_run(settings, longest=longest_of(records, settings))
    _show_plan(settings, plan, records)
    job = _begun(settings, plan, records, validation, fresh=fresh, resume=resume)
    hint = "The same command goes on from the last checkpoint; --fresh starts over."
    with job.run.lock(), working(hint, job.run) as (stop, bar_of):
        run_stages(job.run, stages_of(job), seed=settings.seed, progress_of=bar_of, stop=stop)
    _show_results(job.run)
    _show_success(job.run)
    write_cards(job.run.path)


def _data(config: RankedConfig) -> tuple[list[RankedRecord], list[RankedRecord]]:
    """Read training and validation data; what no stage needs may be missing."""
    from atlas.data.ranked import check_no_shared_prompt, read_ranked

    needed = "ranked" in config.stages or config.corpus is None
    records, validation = (
        read_ranked(path) if needed or Path(path).is_file() else []
        for path in (config.train_data, config.validation_data)
    )
    check_no_shared_prompt(records, validation)
    return records, validation


def _begun(
    config: RankedConfig,
    plan: FittingPlan,
    records: Sequence[RankedRecord],
    validation: Sequence[RankedRecord],
    *,
    fresh: bool,
    resume: bool,
) -> FromScratch:
    """Make the run directory, or take up the one that is there, once nothing speaks against it."""
    from atlas.from_scratch.inputs import digests_of, named_inputs
    from atlas.from_scratch.model.folder import claim_folder
    from atlas.from_scratch.stages import FromScratch
    from atlas.run.config_file import keep_config
    from atlas.run.inputs import keep_inputs

    refuse_foreign(Path(config.log_dir), LOGS, "log_dir")
    if {"pretrain", "ranked"} & {*config.stages}:
        claim_folder(Path(config.model_dir), config.output_dir)
    digests = digests_of(config)  # a corpus that isn't there leaves no run behind
    if resume and not (Path(config.output_dir) / "run.json").is_file():
        raise AtlasError(f"there is no run in {config.output_dir} to resume; leave --resume out")
    run_dir = RunDir.create(config.output_dir, "ranked", fresh=fresh)
    keep_config(config, run_dir.config)
    keep_inputs(run_dir.path, digests, named_inputs(config))
    settings = _settled(run_dir, plan.settings)
    if settings != plan.settings:
        say(f"This run was begun with {settings}, and goes on so.")
    run_dir.note("plan", f"{plan.num_parameters:,} parameters, {settings}")
    publish(run_dir.path, Path(config.log_dir), LOGS)
    return FromScratch(
        run=run_dir, config=config, settings=settings, train=records, validation=validation
    )


def _show_plan(config: RankedConfig, plan: FittingPlan, records: Sequence[RankedRecord]) -> None:
    """Print what will be trained, and what it takes."""
    model = config.model_name_or_path or config.model_size
    say(f"Total parameters: {plan.num_parameters:,}  ({model})")
    parts = ", ".join(
        f"{name} {size / 1e9:.2f}"
        for name, size in {**plan.memory.always, **plan.memory.update}.items()
    )
    say(
        f"Memory: {plan.memory.peak / 1e9:.1f} GB of {plan.limit / 1e9:.1f} GB {plan.limit_is} "
        f"({parts})"
    )
    why = ""
    if plan.passed_over is not None:
        faster, memory = plan.passed_over
        why = f", the fastest that fit ({faster} would take {memory.peak / 1e9:.1f} GB)"
    say(f"Settings: {plan.settings}{why}")
    disk = _disk(config, plan)
    require_free_space(Path(config.output_dir), disk)
    say(f"Disk: at most {disk / 1e9:.1f} GB for checkpoints, models and log")
    if "ranked" in config.stages:
        for line in ranked_lines(config, plan.num_parameters, records):
            say(line)
    say(f"Log: tail -f {Path(config.log_dir) / 'training.log'}")


def _disk(config: RankedConfig, plan: FittingPlan) -> int:
    """Return the bytes that a run writes: two models, the guide's folder, what it goes on from."""
    model = plan.num_parameters * (2 if plan.settings.precision == "bf16_weights" else 4)
    kept = 3 * (config.save_total_limit + 1)  # with AdamW's moments; one is being written
    trained = {"pretrain", "ranked"} & {*config.stages}
    return len(trained) * (1 + kept) * model + 2 * 4 * plan.num_parameters


def ranked_lines(
    config: RankedConfig, num_parameters: int, records: Sequence[RankedRecord]
) -> list[str]:
    """Say how long the ranked stage is, what it minimises, and what would keep it from that."""
    from atlas.data.ranked import num_unranked
    from atlas.from_scratch.training.loops import num_ranked_steps

    lines = [
        f"Data: {len(records)} prompts, {config.batch_size} a step, {config.epochs:g} epochs: "
        f"{num_ranked_steps(config, len(records))} steps of the ranked stage",
        f"Loss: {config.likelihood_weight:g} x the likelihood weighted by preference "
        f"(likelihood_weight) + {config.grpo_preference_weight:g} x the pairwise term "
        "(grpo_preference_weight: in the guide's formula the 0.5 is there)",
    ]
    if unranked := num_unranked(records):
        lines.append(
            f"Note: {unranked} prompts have one response or only ties: nothing is ranked there."
        )
    if "pretrain" not in config.stages and config.model_name_or_path is None:
        lines.append(
            "Note: preferences alone teach random weights little; leave 'pretrain' in stages, or "
            "set model_name_or_path."
        )
    if num_parameters >= _SMALL and config.learning_rate < 1e-4 and "pretrain" in config.stages:
        lines.append(
            f"Note: learning_rate {config.learning_rate:g} is the ranked stage's, and would take "
            "random weights nowhere; language is learned before it, at pretrain_learning_rate "
            f"{config.pretrain_learning_rate:g}."
        )
    if num_parameters < _SMALL and config.learning_rate < 5e-5:
        lines.append(
            f"Note: learning_rate {config.learning_rate:g} hardly moves a model of this size in "
            "the ranked stage; 3e-4 does."
        )
    return lines


def _show_results(run_dir: RunDir) -> None:
    """Print the figures of a finished run, and where the model is."""
    if not run_dir.stage_done("save"):
        entries = run_dir.stage_summary("tokenizer")["entries"]
        say(
            f"tokenizer: {run_dir.path / 'tokenizer'}, {entries} entries; train with it by "
            f"tokenizer={run_dir.path / 'tokenizer'}"
        )
        return
    if run_dir.stage_done("evaluate"):
        _show_figures(run_dir)
    saved = run_dir.stage_summary("save")
    say(f"Total parameters: {saved['parameters']:,}")
    say(f"model: {saved['folder']}")


def _show_success(run_dir: RunDir) -> None:
    """Say which of the guide's marks of success the stages meet."""
    from atlas.report.success import success_lines

    for stage in ("pretrain", "ranked"):
        for line in success_lines(run_dir.path, stage) if run_dir.stage_done(stage) else ():
            say(line)
            run_dir.note(stage, line)


def _show_figures(run_dir: RunDir) -> None:
    from atlas.report.proof import proof_gain, proof_header, proof_rows

    figures = run_dir.stage_summary("evaluate")
    title = f"Measured on {figures['validation_prompts']} validation prompts"
    header = proof_header(figures, pretrained=run_dir.stage_done("pretrain"))
    show_table(title, header, proof_rows(figures))
    if gain := proof_gain(figures):
        say(f"gain of the ranked stage in right answers: {gain}")


def _settled(run_dir: RunDir, settings: MemorySettings) -> MemorySettings:
    """Return the settings that the run was begun with: it goes on so, whatever is free now."""
    from atlas.from_scratch.planning import MemorySettings

    kept = run_dir.path / "settings.json"
    if kept.exists():
        record = read_json(kept)
        if {name: type(value) for name, value in record.items()} != {
            name: type(value) for name, value in asdict(settings).items()
        }:
            raise AtlasError(f"{kept} doesn't hold the settings of a run; --fresh starts over")
        return MemorySettings(**record)
    write_atomic(kept, json.dumps(asdict(settings)) + "\n")
    return settings
