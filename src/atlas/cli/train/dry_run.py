"""``--dry-run``: what a training would do, before anything is loaded or written.

Printed are the configuration as resolved, what a step consists of, how many steps there are, and
the memory of each device. A training that can't fit is refused, with the settings that would fit.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.cli.terminal import say, show_json, show_table
from atlas.errors import AtlasError
from atlas.parallel.world import World, world

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from atlas.config import GRPOConfig, SFTConfig
    from atlas.config.parts.data import DataConfig
    from atlas.data.samples import TraceDataset, Use
    from atlas.data.training_sets import SFTSet
    from atlas.planning.run_plan import RunPlan

_GB = 1e9


def show_plan(
    job: str,
    source: str,
    overrides: Sequence[str],
    place: World | None = None,
    *,
    as_json: bool = False,
) -> None:
    """Print the plan of a job; under torchrun its first process does.

    Args:
        job: ``sft`` or ``grpo``.
        source: The run's file.
        overrides: Words of the command line.
        place: For how many processes; None: those of this environment.
        as_json: For programs; a plan that doesn't fit is printed before it is refused.

    Raises:
        AtlasError: The job isn't planned here, a setting is wrong, or the training doesn't fit.
    """
    from atlas.config import JOBS, GRPOConfig, SFTConfig, compose_config, explain

    place = place or world()
    config_class = JOBS[job]
    if config_class not in (SFTConfig, GRPOConfig):
        raise AtlasError(f"--dry-run plans the jobs sft and grpo, not {job}")
    composed = compose_config(config_class, source, overrides, world_size=place.size)
    asked = composed.config
    assert isinstance(asked, SFTConfig | GRPOConfig)
    if not place.is_main:
        return

    from atlas.cli.train.job import check_deepspeed
    from atlas.planning.disk_plan import disk_plan
    from atlas.planning.run_plan import plan_run

    check_deepspeed(asked, place.size)
    plan = plan_run(
        asked,
        num_devices=place.size,
        on_node=place.local_size,
        elsewhere=bool(asked.memory_limit_gb),
    )
    config = plan.settled(asked)
    rows = explain(config, {**composed.origins, **dict.fromkeys(plan.chosen, "the plan")})
    made = _examples(config)
    work = _work_lines(config, made, place.size)
    if not as_json:
        columns = ("key", "value", "set by")
        cells = [(row.key, row.value, row.origin) for row in rows]
        show_table(f"Configuration of the job {job}", columns, cells)
        for line in work:
            say(line)
    disk = disk_plan(config, plan.setup.shape)
    time_line, seconds = _time(asked, made, plan)
    if as_json:
        keys = [{"key": row.key, "value": row.value, "set_by": row.origin} for row in rows]
        rest = {"work": work, "disk_bytes": dict(disk), **seconds}
        show_json({"job": job, "configuration": keys, **_record(plan), **rest})
    else:
        _show_memory(plan)
        _show_disk(config, disk)
        if time_line:
            say(time_line)
    _check(asked, plan, sum(disk.values()))
    if not as_json:
        peak, limit = plan.device.peak / _GB, plan.limit / _GB
        fits = f"It fits: {peak:.1f} GB of {limit:.1f} GB {plan.limit_is}."
        say(f"{fits} Nothing was loaded or written.")


def _check(config: SFTConfig | GRPOConfig, plan: RunPlan, disk: int) -> None:
    """Refuse a plan for this machine that its disk can't hold, and one that no device can."""
    from atlas.planning.run_plan import refusal
    from atlas.run.files import require_free_space

    if not config.memory_limit_gb:
        require_free_space(Path(config.output_dir), disk)
    if not plan.fits:
        raise refusal(config, plan)


def _record(plan: RunPlan) -> dict[str, Any]:
    """Return what a plan says of a device, for programs."""
    return {
        "num_devices": plan.setup.num_devices,
        "engine": plan.setup.engine,
        "plan": str(plan),
        "chosen": dict(plan.chosen),
        "precision": plan.setup.precision,
        "device_bytes": {when: dict(parts) for when, parts in _held(plan)},
        "peak_bytes": plan.device.peak,
        "limit_bytes": plan.limit,
        "fits": plan.fits,
    }


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


def _show_disk(config: SFTConfig | GRPOConfig, disk: Mapping[str, int]) -> None:
    parts = ", ".join(f"{name} {size / _GB:.2f}" for name, size in disk.items())
    say(f"disk: at most {sum(disk.values()) / _GB:.2f} GB at {config.output_dir} ({parts})")


def _time(
    config: SFTConfig | GRPOConfig, made: SFTSet | AtlasError | None, plan: RunPlan
) -> tuple[str, dict[str, int | None]]:
    """Return how long it takes on the device that is here, in words and for programs.

    That is an estimate where an earlier run has recorded its speed, else a bound from below.
    """
    from atlas.config import GRPOConfig
    from atlas.planning.recorded_rate import about_seconds, recorded_line, recorded_rate
    from atlas.planning.time_plan import least_seconds, products_per_second, time_line

    told: dict[str, int | None] = {"about_seconds": None, "least_seconds": None}
    if config.memory_limit_gb:
        return "time: not told, since memory_limit_gb plans for a device that isn't this one", told
    if isinstance(made, AtlasError):
        return "", told  # its data can't be read, which has been said
    tokens = 0.0
    if made is not None and not isinstance(config, GRPOConfig):
        tokens = config.num_train_epochs * sum(len(row.ids) for row in made.train)
    if (rate := recorded_rate(config)) is not None:
        about = about_seconds(config, rate, tokens)
        return recorded_line(config, rate, tokens), {**told, "about_seconds": about}
    products, speed = _products(config, tokens, plan), products_per_second()
    devices = plan.setup.num_devices
    least = least_seconds(products, speed, devices)
    return time_line(products, speed, devices), {**told, "least_seconds": least}


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
    rows = [
        (name, f"{size / _GB:.2f}", when)
        for when, parts in _held(plan)
        for name, size in parts.items()
    ]
    rows.append(("peak", f"{plan.device.peak / _GB:.2f}", "of the device"))
    show_table("Memory", ("of one device", "GB", "when"), rows)
    trained = f"{setup.trained:,} of {setup.shape.num_parameters:,} parameters are trained"
    say(
        f"{setup.num_devices} device(s), engine {setup.engine}, precision {setup.precision}, "
        f"{setup.tokens:,} tokens in one pass; {trained}"
    )
    say(str(plan))


def _held(plan: RunPlan) -> tuple[tuple[str, Mapping[str, int]], ...]:
    """Return what a device holds, by when."""
    return (
        ("always", plan.device.always),
        ("in the update", plan.device.update),
        ("in rollouts", plan.device.rollouts),
        ("in CPU memory", plan.device.on_cpu),
    )
