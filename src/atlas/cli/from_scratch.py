"""``train_atlas.py``: a model from random weights, from the configuration to ``models/atlas_*``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from rich.table import Table

from atlas.cli.terminal import StageBar, console, display, stoppable
from atlas.config.grammar.compose import load_config
from atlas.config.ranked import RankedConfig
from atlas.data.ranked import RankedRecord, check_no_shared_prompt, num_unranked, read_ranked
from atlas.errors import AtlasError
from atlas.from_scratch.inputs import digests_of, keep_inputs
from atlas.from_scratch.model.folder import claim_folder
from atlas.from_scratch.planning import Plan, Settings, longest_of, plan_run
from atlas.from_scratch.proof import AFTER, BEFORE, RANDOM
from atlas.from_scratch.stages import FromScratch, stages_of
from atlas.from_scratch.training.loops import num_ranked_steps
from atlas.json_file import read_json
from atlas.run.config_file import keep_config
from atlas.run.files import write_atomic
from atlas.run.links import publish, refuse_foreign
from atlas.run.run_dir import RunDir
from atlas.run.stages import run_stages

LOGS = {"training.log": "training.log", "tensorboard": "tensorboard"}
_SMALL = 20_000_000
"""Below so many parameters the guide's learning rate hardly moves anything."""


def run(source: str, overrides: Sequence[str], *, fresh: bool, resume: bool = False) -> None:
    """Run the command."""
    config = load_config(RankedConfig, source, overrides)
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    records, validation = _data(config)
    plan = plan_run(config, longest=longest_of(records, config))
    show_plan(config, plan, records)
    job = _begun(config, plan, records, validation, fresh=fresh, resume=resume)
    run_dir = job.run
    hint = "The same command goes on from the last checkpoint; --fresh starts over."
    with run_dir.lock(), stoppable(hint) as stop, display() as bars:
        run_stages(
            run_dir,
            stages_of(job),
            seed=config.seed,
            progress_of=lambda name: StageBar(bars, name),
            stop=stop,
        )
    show_results(run_dir)


def _data(config: RankedConfig) -> tuple[list[RankedRecord], list[RankedRecord]]:
    """Read training and validation data; what no stage needs may be missing."""
    needed = "ranked" in config.stages or config.corpus is None
    records, validation = (
        read_ranked(path) if needed or Path(path).is_file() else []
        for path in (config.train_data, config.validation_data)
    )
    check_no_shared_prompt(records, validation)
    return records, validation


def _begun(
    config: RankedConfig,
    plan: Plan,
    records: Sequence[RankedRecord],
    validation: Sequence[RankedRecord],
    *,
    fresh: bool,
    resume: bool,
) -> FromScratch:
    """Make the run directory, or take up the one that is there, once nothing speaks against it."""
    refuse_foreign(Path(config.log_dir), LOGS, "log_dir")
    if {"pretrain", "ranked"} & {*config.stages}:
        claim_folder(Path(config.model_dir), config.output_dir)
    digests = digests_of(config)  # a corpus that isn't there leaves no run behind
    if resume and not (Path(config.output_dir) / "run.json").is_file():
        raise AtlasError(f"there is no run in {config.output_dir} to resume; leave --resume out")
    run_dir = RunDir.create(config.output_dir, "ranked", fresh=fresh)
    keep_config(config, run_dir.config)
    keep_inputs(config, digests, run_dir.path / "inputs.json")
    settings = _settled(run_dir, plan.settings)
    if settings != plan.settings:
        console.print(f"This run was begun with {settings}, and goes on so.", soft_wrap=True)
    run_dir.note("plan", f"{plan.num_parameters:,} parameters, {settings}")
    publish(run_dir.path, Path(config.log_dir), LOGS)
    return FromScratch(
        run=run_dir, config=config, settings=settings, train=records, validation=validation
    )


def show_plan(config: RankedConfig, plan: Plan, records: Sequence[RankedRecord]) -> None:
    """Print what will be trained, and what it takes."""
    model = config.model_name_or_path or config.model_size
    console.print(f"Total parameters: {plan.num_parameters:,}  ({model})", soft_wrap=True)
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in plan.memory.parts.items())
    console.print(
        f"Memory: {plan.memory.total / 1e9:.1f} GB of {plan.limit / 1e9:.1f} GB {plan.limit_is} "
        f"({parts})",
        soft_wrap=True,
    )
    why = ""
    if plan.passed_over is not None:
        faster, memory = plan.passed_over
        why = f", the fastest that fit ({faster} would take {memory.total / 1e9:.1f} GB)"
    console.print(f"Settings: {plan.settings}{why}", soft_wrap=True)
    if "ranked" in config.stages:
        _show_ranked(config, plan.num_parameters, records)
    console.print(f"Log: tail -f {Path(config.log_dir) / 'training.log'}", soft_wrap=True)


def _show_ranked(
    config: RankedConfig, num_parameters: int, records: Sequence[RankedRecord]
) -> None:
    """Print how long the ranked stage is, what it minimises, and what would keep it from that."""
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
    if num_parameters < _SMALL and config.learning_rate < 5e-5:
        lines.append(
            f"Note: learning_rate {config.learning_rate:g} hardly moves a model of this size in "
            "the ranked stage; 3e-4 does."
        )
    for line in lines:
        console.print(line, soft_wrap=True)


def show_results(run_dir: RunDir) -> None:
    """Print the figures of a finished run, and where the model is."""
    if not run_dir.stage_done("save"):
        entries = run_dir.stage_summary("tokenizer")["entries"]
        console.print(
            f"tokenizer: {run_dir.path / 'tokenizer'}, {entries} entries; train with it by "
            f"tokenizer={run_dir.path / 'tokenizer'}",
            markup=False,
            soft_wrap=True,
        )
        return
    if run_dir.stage_done("evaluate"):
        _show_figures(run_dir)
    saved = run_dir.stage_summary("save")
    console.print(f"Total parameters: {saved['parameters']:,}")
    console.print(f"model: {saved['folder']}", markup=False, soft_wrap=True)


def _show_figures(run_dir: RunDir) -> None:
    figures = run_dir.stage_summary("evaluate")
    table = Table(title=f"Measured on {figures['validation_prompts']} validation prompts")
    before = "after stage 0" if run_dir.stage_done("pretrain") else "at the start"
    titles = {RANDOM: "random weights", BEFORE: before, AFTER: "after the ranked stage"}
    titles = {name: text for name, text in titles.items() if f"{name}_loss" in figures}
    for column in ("", *titles.values()):
        table.add_column(column)
    for title, name in (
        ("better response likelier (pairs)", "ranking_accuracy"),
        ("loss of the best response, nats a token", "loss"),
        ("own answers verified right", "verified"),
    ):
        row = [figures.get(f"{stage}_{name}") for stage in titles]
        table.add_row(title, *(_cell(value) for value in row))
    console.print(table)
    if "verified_gain" in figures:
        gain = _cell(figures["verified_gain"])
        console.print(f"gain of the ranked stage in right answers: {gain}", markup=False)


def _settled(run_dir: RunDir, settings: Settings) -> Settings:
    """Return the settings that the run was begun with: it goes on so, whatever is free now."""
    kept = run_dir.path / "settings.json"
    if kept.exists():
        record = read_json(kept)
        if {name: type(value) for name, value in record.items()} != {
            name: type(value) for name, value in asdict(settings).items()
        }:
            raise AtlasError(f"{kept} doesn't hold the settings of a run; --fresh starts over")
        return Settings(**record)
    write_atomic(kept, json.dumps(asdict(settings)) + "\n")
    return settings


def _cell(value: float | Mapping[str, float] | None) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        low, high = 100 * value["low"], 100 * value["high"]
        return f"{100 * value['value']:.1f} % [{low:.1f}, {high:.1f}]"
    return f"{value:.3f}"
