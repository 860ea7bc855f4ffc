"""``--dry-run``: what a training would do, before anything is loaded or written.

Printed are the configuration as resolved, what a step consists of, how many steps there are, and
the memory of each device. A training that can't fit is refused, with the settings that would fit.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.cli.terminal import say, show_table
from atlas.errors import AtlasError
from atlas.parallel.world import World, world

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atlas.config import GRPOConfig, SFTConfig
    from atlas.config.parts.data import DataConfig
    from atlas.data.samples import TraceDataset, Use
    from atlas.data.training_sets import SFTSet
    from atlas.planning.run_plan import RunPlan

_GB = 1e9


def show_plan(job: str, source: str, overrides: Sequence[str], place: World | None = None) -> None:
    """Print the plan of a job; under torchrun its first process does.

    Args:
        job: ``sft`` or ``grpo``.
        source: The run's file.
        overrides: Words of the command line.
        place: For how many processes; None: those of this environment.

    Raises:
        AtlasError: The job isn't planned here, a setting is wrong, or the training doesn't fit.
    """
    from atlas.config import JOBS, GRPOConfig, SFTConfig, compose_config, explain

    place = place or world()
    config_class = JOBS[job]
    if config_class not in (SFTConfig, GRPOConfig):
        raise AtlasError(f"--dry-run plans the jobs sft and grpo, not {job}")
    composed = compose_config(config_class, source, overrides, world_size=place.size)
    config = composed.config
    assert isinstance(config, SFTConfig | GRPOConfig)
    if not place.is_main:
        return

    from atlas.cli.train.job import check_deepspeed
    from atlas.planning.run_plan import plan_run, refusal

    check_deepspeed(config, place.size)

    rows = [(row.key, row.value, row.origin) for row in explain(config, composed.origins)]
    show_table(f"Configuration of the job {job}", ("key", "value", "set by"), rows)
    made = _examples(config)
    for line in _work_lines(config, made, place.size):
        say(line)
    plan = plan_run(config, num_devices=place.size, on_node=place.local_size)
    _show_memory(plan)
    _show_disk_and_time(config, made, plan)
    if not plan.fits:
        raise refusal(config, plan)
    say(
        f"It fits: {plan.device.peak / _GB:.1f} GB of {plan.limit / _GB:.1f} GB {plan.limit_is}. "
        "Nothing was loaded or written."
    )


def _work_lines(
    config: SFTConfig | GRPOConfig, made: SFTSet | AtlasError | None, num_processes: int
) -> tuple[str, ...]:
    """Say what a step consists of and how many there are, as far as the data can be read."""
    from atlas.config import GRPOConfig
    from atlas.config.resolve import batch_lines, supervised_lines
    from atlas.training.micro_batches import pack
    from atlas.training.sft import num_steps

    if isinstance(config, GRPOConfig):
        return (*batch_lines(config, world_size=num_processes), _tasks_line(config))
    if made is None or isinstance(made, AtlasError):
        per_step = config.per_device_train_batch_size * config.gradient_accumulation_steps
        return (
            f"examples per step: {per_step * num_processes} = per_device_train_batch_size "
            f"{config.per_device_train_batch_size} × gradient_accumulation_steps "
            f"{config.gradient_accumulation_steps} × processes {num_processes}",
            f"optimiser steps: not known, since the data can't be read here: {made}",
        )
    rows = pack(made.train, config.max_seq_length) if config.packing else made.train
    examples = len(rows)
    total = num_steps(examples, config, world_size=num_processes)
    return supervised_lines(config, num_rows=examples, num_steps=total, world_size=num_processes)


def _examples(config: SFTConfig | GRPOConfig) -> SFTSet | AtlasError | None:
    """Return what SFT would learn from, or why that can't be told; None for another job."""
    from atlas.config import SFTConfig
    from atlas.data.training_sets import sft_set, teachers_renderer

    if not isinstance(config, SFTConfig):
        return None
    try:
        dataset = _dataset(config, "sft")
        return sft_set(dataset, teachers_renderer(config), max_length=config.max_seq_length)
    except AtlasError as error:
        return error


def _tasks_line(config: GRPOConfig) -> str:
    from atlas.data.training_sets import rl_set

    try:
        made = rl_set(_dataset(config, "rl"))
    except AtlasError as error:
        return f"tasks: not known, since the data can't be read here: {error}"
    tasks, worked = len(made.tasks), config.max_steps * config.prompts_per_step
    taught = config.environment == "teaching"
    line = (
        f"tasks: {tasks:,}, each {'taught' if taught else 'met'} {worked / tasks:.2g} times in "
        f"{config.max_steps} steps"
    )
    measured = min(len(made.held), config.evaluate_tasks, worked) if taught else 0
    return f"{line}; the end is measured on {measured} of {len(made.held)} held out"


def _dataset(config: DataConfig, use: Use) -> TraceDataset:
    """Read the data, but wait for no hub that isn't there."""
    from huggingface_hub import constants

    from atlas.data.load import load_trace_dataset
    from atlas.machine.hub import hub_answers

    name = config.dataset_name_or_path
    if name and not Path(name).exists() and not hub_answers(constants.ENDPOINT):
        raise AtlasError(f"{name} is no folder or file here, and {constants.ENDPOINT} can't be met")
    return load_trace_dataset(config, use)


def _show_disk_and_time(
    config: SFTConfig | GRPOConfig, made: SFTSet | AtlasError | None, plan: RunPlan
) -> None:
    """Say what will be written, and how long it takes on the device that is here.

    That is an estimate where an earlier run has recorded its speed, else a bound from below.
    """
    from atlas.planning.disk_plan import disk_plan
    from atlas.planning.recorded_rate import recorded_line, recorded_rate
    from atlas.planning.time_plan import products_per_second, time_line
    from atlas.run.files import require_free_space

    disk = disk_plan(config, plan.setup.shape)
    parts = ", ".join(f"{name} {size / _GB:.2f}" for name, size in disk.items())
    say(f"disk: at most {sum(disk.values()) / _GB:.2f} GB at {config.output_dir} ({parts})")
    if config.memory_limit_gb:
        say("time: not told, since memory_limit_gb plans for a device that isn't this one")
        return
    require_free_space(Path(config.output_dir), sum(disk.values()))
    if isinstance(made, AtlasError):
        return  # its data can't be read, which has been said
    tokens = config.num_train_epochs * sum(len(row.ids) for row in made.train) if made else 0
    if (rate := recorded_rate(config)) is not None:
        say(recorded_line(config, rate, tokens))
    else:
        products = _products(config, tokens, plan)
        say(time_line(products, products_per_second(), plan.setup.num_devices))


def _products(config: SFTConfig | GRPOConfig, num_tokens: float, plan: RunPlan) -> float:
    """Return the operations of a training."""
    from atlas.config import GRPOConfig
    from atlas.planning.model_shapes import shape_of_model
    from atlas.planning.time_plan import grpo_products, learning_products

    parameters = plan.setup.shape.num_parameters
    if isinstance(config, GRPOConfig):
        here = config.student_here if config.environment == "teaching" else None
        student = shape_of_model(here).num_parameters if here else 0
        return grpo_products(config, parameters, student)
    return learning_products(config, parameters, num_tokens)


def _show_memory(plan: RunPlan) -> None:
    setup = plan.setup
    groups = (
        ("always", plan.device.always),
        ("in the update", plan.device.update),
        ("in rollouts", plan.device.rollouts),
        ("in CPU memory", plan.device.on_cpu),
    )
    rows = [
        (name, f"{size / _GB:.2f}", when) for when, parts in groups for name, size in parts.items()
    ]
    rows.append(("peak", f"{plan.device.peak / _GB:.2f}", "of the device"))
    show_table("Memory", ("of one device", "GB", "when"), rows)
    trained = f"{setup.trained:,} of {setup.shape.num_parameters:,} parameters are trained"
    say(
        f"{setup.num_devices} device(s), engine {setup.engine}, precision {setup.precision}, "
        f"{setup.tokens:,} tokens in one pass; {trained}"
    )
