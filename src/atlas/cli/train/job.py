"""What ``atlas sft`` and ``atlas grpo`` have in common: beginning, going on, and the last line.

A run that goes on trains on the sessions that it was begun with, which its lineage names, though
the database has grown meanwhile; where some of them are gone it is refused.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from atlas.cli.terminal import say, working
from atlas.config.grpo import GRPOConfig
from atlas.config.parts.engine import chosen_engine
from atlas.config.parts.student import refuse_unready
from atlas.config.sft import SFTConfig
from atlas.config.train import TrainConfig
from atlas.errors import AtlasError, OutageError, reason_of
from atlas.models.presence import refuse_missing
from atlas.parallel.world import world
from atlas.run.config_file import keep_config
from atlas.run.files import require_free_space
from atlas.run.inputs import keep_inputs
from atlas.run.lineage import Lineage, read_lineage, write_lineage
from atlas.run.links import offer, refuse_foreign
from atlas.run.progress import Progress
from atlas.run.prompts_kept import check_prompts
from atlas.run.run_dir import RunDir
from atlas.run.trackers.tracker import check_trackers
from atlas.yaml_file import read_yaml

if TYPE_CHECKING:
    from atlas.data.samples import TraceDataset
    from atlas.parallel.distributed import Ranks
    from atlas.planning.run_plan import RunPlan

_GB = 1e9
_LOGS = {"logs/train.log": "training.log", "logs/tensorboard_events": "tensorboard"}
PUBLISHED = {
    "sft": {"sft_checkpoint": "final", **_LOGS},
    "grpo": {"rl_checkpoint": "final", **_LOGS},
}
"""Job -> the guide's names under ``results_dir``, and the path in the run that each means."""
HINT = "The same command goes on from the last checkpoint; --fresh starts over."


def check(config: SFTConfig | GRPOConfig, kind: str) -> None:
    """Refuse what can be seen to be wrong before anything heavy is loaded.

    Raises:
        AtlasError: A file or a model isn't there, a prompt can't be used, a tracker isn't
            installed, or ``results_dir`` isn't ours.
    """
    for key in ("export_path", "dataset_path", "ranked_path"):
        path = getattr(config, key)
        if path is not None and not Path(path).exists():
            raise AtlasError(f"can't read {path}: it isn't there; set {key} to a file that is")
    for name in _models_by_key(config).values():
        refuse_missing(name)
    check_deepspeed(config, world().size)
    if isinstance(config, GRPOConfig) and config.environment == "teaching":
        refuse_unready(config)
    check_prompts(config.prompts, config.output_dir)
    check_trackers(config.report_to or ())
    if config.results_dir:
        refuse_foreign(Path(config.results_dir), PUBLISHED[kind], "results_dir")


def check_deepspeed(config: TrainConfig, num_processes: int) -> None:
    """Refuse a file of DeepSpeed's that contradicts the configuration.

    Raises:
        AtlasError: It does, or can't be read.
    """
    if config.deepspeed and chosen_engine(config, num_processes) == "deepspeed":
        from atlas.parallel.engine.deepspeed_settings import settings_of

        settings_of(config, config.deepspeed, num_processes)


def _models_by_key(config: TrainConfig) -> dict[str, str]:
    """Return the models that will be loaded; a preset names a student where none is met, too."""
    names = {"model_name_or_path": getattr(config, "model_name_or_path", None)}
    if isinstance(config, GRPOConfig) and config.environment == "teaching":
        names["student_model"] = config.student_here
    return {key: name for key, name in names.items() if name}


@contextlib.contextmanager
def together(config: TrainConfig) -> Iterator[Ranks]:
    """Meet the other processes of a training, for as long as the block runs.

    Raises:
        AtlasError: Keys contradict each other, or the others can't be met.
    """
    import torch

    from atlas.parallel.distributed import joined

    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    needs_group = chosen_engine(config, world().size) != "plain"
    with joined(config.phase_timeout, needs_group=needs_group) as ranks, ranks.own_errors():
        yield ranks


@contextlib.contextmanager
def locked(run: RunDir, ranks: Ranks) -> Iterator[None]:
    """Keep every other job out of the run directory; rank 0 does so for all."""
    with contextlib.ExitStack() as stack:

        def lock() -> None:
            stack.enter_context(run.lock())

        ranks.on_main(lock, "the lock of the run directory")
        yield


@dataclass(frozen=True, kw_only=True, slots=True)
class StartedRun:
    """A run directory, new or gone on with."""

    run: RunDir
    inputs: Mapping[str, str]
    """Digests of the models that it is begun with, by key."""
    before: Lineage | None
    """What it was begun with; None for a new one."""

    @property
    def sessions(self) -> frozenset[str] | None:
        """The only sessions that count; None: all that the source has."""
        return None if self.before is None else frozenset(self.before.train + self.before.eval)


def begin(config: TrainConfig, kind: str, *, fresh: bool, override: bool = False) -> StartedRun:
    """Make the run directory of a training, or take up the one that is there.

    Raises:
        AtlasError: It is finished, can't be used, or was begun with other settings.
    """
    from atlas.models.checkpoints import check_model
    from atlas.models.identity import model_digests

    named = _models_by_key(config)
    for name in named.values():
        check_model(name)
    check_disk(config)
    run = RunDir.create(config.output_dir, kind, fresh=fresh)
    if run.stage_done(kind):
        raise AtlasError(f"{run.path} is finished; --fresh trains again, output_dir=… elsewhere")
    inputs = model_digests(named)
    if run.config.is_file():
        keep_config(config, run.config, override=override)
        keep_inputs(run.path, inputs, named)
    return StartedRun(
        run=run,
        inputs=inputs,
        before=read_lineage(run.path) if os.path.lexists(run.lineage) else None,
    )


def check_disk(config: TrainConfig) -> None:
    """Refuse a training whose files the disk can't hold, where its model's shape is known here.

    Raises:
        AtlasError: It can't.
    """
    from atlas.planning.disk_plan import disk_plan
    from atlas.planning.model_shapes import UnknownShapeError, shape_of_model

    assert isinstance(config, SFTConfig | GRPOConfig)
    folder = Path(config.output_dir)
    if (folder / "config.yaml").exists():
        return  # a run that goes on has most of it already
    try:
        shape = shape_of_model(config.model_name_or_path)
    except UnknownShapeError:
        return
    require_free_space(folder, sum(disk_plan(config, shape).values()))


def dataset(
    config: TrainConfig, use: Literal["sft", "rl"], begun: StartedRun, reading: Progress
) -> TraceDataset:
    """Read the configured data: of a run that goes on, the sessions that it was begun with."""
    from atlas.data.load import load_trace_dataset

    found = load_trace_dataset(config, use, only_sessions=begun.sessions)
    samples = found.sft if use == "sft" else found.rl
    reading.begin(samples.num_read)
    reading.advance(samples.num_read, note=found.source)
    return found


def keep(begun: StartedRun, config: TrainConfig, lineage: Lineage) -> None:
    """Write down what a run is begun with, or check that it is what it was begun with.

    Only now, when there is something to train on: a mistyped setting can be mended before.

    Raises:
        AtlasError: Sessions that the run was begun with are gone.
    """
    before = begun.before
    if before is None:
        write_lineage(begun.run.path, lineage)
    elif (before.train, before.eval) != (lineage.train, lineage.eval):
        known = {*before.train, *before.eval}
        missing = len(known.difference(lineage.train, lineage.eval))
        raise AtlasError(
            f"{begun.run.path} was begun with {len(known)} sessions, of which {lineage.source} has "
            f"lost or changed {missing or 'some'}; bring them back, or start over with --fresh"
        )
    keep_config(config, begun.run.config)
    keep_inputs(begun.run.path, begun.inputs, _models_by_key(config))


def train(
    config: TrainConfig,
    kind: str,
    *,
    read: Callable[[StartedRun, Progress], Any],
    learn: Callable[..., Mapping[str, Any]],
    noun: str,
    fresh: bool,
    override: bool,
    overrides: Sequence[str],
) -> None:
    """Run a training from its data to its last line, on every process.

    Args:
        config: Of the run.
        kind: ``sft`` or ``grpo``.
        read: Returns the data, with its lineage.
        learn: Takes the run, its configuration as planned, the data, and by name ``progress``,
            ``stop`` and ``ranks``; returns figures.
        noun: What it learns from, for the last line.
        fresh: Start over.
        override: Go on with other settings, of those that change nothing learned.
        overrides: Words of the command line.

    Raises:
        AtlasError: As for `begin` and `keep`, it doesn't fit, or the training failed.
    """
    from atlas.run.seeding import seed_everything

    with together(config) as ranks:
        plan = ranks.on_main(lambda: planned(config, ranks.size), "the plan")
        begun = ranks.on_main(
            lambda: begin(config, kind, fresh=fresh, override=override), "the run directory"
        )
        run = begun.run
        with locked(run, ranks), working(HINT, run) as (stop, bar_of):

            def data() -> Any:
                made = read(begun, bar_of("read"))
                keep(begun, config, made.lineage)
                return made

            started = time.monotonic()
            made = ranks.on_main(data, "the data")
            seed_everything(config.seed, kind)
            common = {"progress": bar_of(kind), "stop": stop, "ranks": ranks}
            if plan is not None and ranks.is_main:
                run.teller(kind, common["progress"])(str(plan))
            with beside(plan):
                settled = config if plan is None else plan.settled(config)
                figures = learn(run, settled, made, **common)
            if ranks.is_main:
                run.finish_stage(kind, figures, time.monotonic() - started)
        if ranks.is_main:
            close(run, noun, figures, meant=names_results(overrides))


def planned(config: TrainConfig, num_processes: int) -> RunPlan | None:
    """Return the plan of a training on this machine; None where its model's shape isn't known.

    Raises:
        AtlasError: It doesn't fit.
    """
    from atlas.planning.model_shapes import UnknownShapeError
    from atlas.planning.run_plan import plan_run, refusal

    assert isinstance(config, SFTConfig | GRPOConfig)
    try:
        plan = plan_run(config, num_devices=num_processes, on_node=world().local_size)
    except UnknownShapeError:
        return None
    if not plan.fits:
        raise refusal(config, plan)
    return plan


@contextlib.contextmanager
def beside(plan: RunPlan | None) -> Iterator[None]:
    """Say what was planned where a GPU's memory is used up all the same.

    Raises:
        OutageError: It is.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        if plan is None:
            raise
        reached = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        raise OutageError(
            f"the GPU's memory is used up: planned {plan.device.peak / _GB:.1f} GB of "
            f"{plan.limit / _GB:.1f}, reached {reached / _GB:.1f} ({reason_of(error)}); leave "
            "engine, gradient_checkpointing and max_tokens_per_micro_batch to the plan and set "
            "memory_limit_gb lower, or use_peft=true"
        ) from error


def names_results(overrides: Sequence[str]) -> bool:
    """Tell whether a command line says where the links go, so that they are meant to."""
    return any(word.lstrip("+").startswith("results_dir=") for word in overrides)


def close(run: RunDir, noun: str, figures: Mapping[str, Any], *, meant: bool) -> None:
    """Link the results; say what a model was trained on, where it is, and whether it went well."""
    from atlas.data.training_sets import counts
    from atlas.report.card import write_cards
    from atlas.report.success import success_lines

    write_cards(run.path)

    results = read_yaml(run.config).get("results_dir")
    if results:
        names = PUBLISHED[run.kind]
        _, line = offer(run.path, Path(results), names, model=next(iter(names)), meant=meant)
        say(line)
    lineage = read_lineage(run.path)
    samples = lineage.num_samples
    left_out = f"; left out: {counts(lineage.left_out)}" if lineage.left_out else ""
    line = (
        f"{run.kind}: {figures['steps']} steps on {samples['train']} {noun} of "
        f"{len(lineage.train)} sessions, {samples['eval']} {noun} of {len(lineage.eval)} held "
        f"out{left_out}; model: {run.final}"
    )
    for success in success_lines(run.path, run.kind):
        say(success)
        run.note(run.kind, success)
    say(line)
