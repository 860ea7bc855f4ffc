"""GRPO: a policy is reinforced in an environment; by default it teaches a frozen student.

Input: a policy to start from, tasks. Output: a run directory with the trained policy in ``final/``.
A step::

    tasks -> episodes (environments) -> advantages -> update (update.py) -> metrics, checkpoint

Every random number of a step derives from the seed and the step, so that a run that was stopped
and goes on from a checkpoint is the run that wasn't.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from atlas.config.grpo import GRPOConfig
from atlas.config.resolve import batch_lines
from atlas.environments.environment import Context
from atlas.environments.lengths import check_lengths
from atlas.environments.rollout import act, roll_out
from atlas.errors import AtlasError
from atlas.machine.precision import trains_in_bf16
from atlas.models.checkpoints import save_model, step_name
from atlas.models.prompts import ELSEWHERE, configured_prompts, load_renderer
from atlas.parallel.distributed import ALONE, Ranks, agreed
from atlas.parallel.sink import sink_on
from atlas.policy.ahead import Ahead
from atlas.prompts import Prompts
from atlas.prompts.renderer import Renderer
from atlas.run.files import write_atomic
from atlas.run.metrics import MetricSink
from atlas.run.progress import Progress
from atlas.run.prompts_kept import keep_prompts, model_files, run_prompts
from atlas.run.run_dir import RunDir
from atlas.run.seeding import derive_seed
from atlas.run.stopping import StopRequest
from atlas.training.chain import Chain
from atlas.training.grpo_parts import Training, load_training
from atlas.training.loop import Learned, Loop
from atlas.training.resuming import Resumable, resumable
from atlas.training.rollout_metrics import (
    policy_age,
    rollout_metrics,
    sample_text,
    write_rollouts,
)
from atlas.training.samples import train_samples
from atlas.training.task_order import chosen_tasks, coming_tasks
from atlas.training.update import UpdateSettings, update
from atlas.training.watch import RewardWatch, set_aside
from atlas.types import Episode, Task, Tokens

Group = tuple[Episode, ...]
Rollouts = Ahead[list[Group]]
_SHOWN = 10
"""Steps between two samples in TensorBoard."""


def train_grpo(
    run: RunDir,
    config: GRPOConfig,
    tasks: Sequence[Task],
    *,
    progress: Progress,
    stop: StopRequest,
    canary: Sequence[Task] = (),
    ranks: Ranks = ALONE,
) -> Mapping[str, float]:
    """Reinforce a policy; goes on from the newest whole checkpoint where there is one.

    Every rank calls this with the same; rank 0 alone reads and writes ``run``.

    Args:
        run: Where everything is written.
        config: Models, sampling, loss, schedule.
        tasks: What it is trained on.
        progress: Told of every step.
        stop: Asked before every step.
        canary: Held-out tasks that the policy is measured on every ``canary_steps``. Where there
            are none, ``canary_tasks`` of the tasks are set aside.
        ranks: Who trains together: each rolls out its share of a step's tasks.

    Returns:
        The figures of the last logged step, with ``steps`` and ``skipped_steps``.

    Raises:
        AtlasError: There are fewer tasks than one step takes.
        Stopped: The user asked to stop; a checkpoint was written.
    """
    if not canary:
        tasks, canary = set_aside(tasks, config.canary_tasks)
    if len(tasks) < config.prompts_per_step:
        raise AtlasError(
            f"{len(tasks)} tasks, but prompts_per_step is {config.prompts_per_step}; "
            "give more tasks or lower it"
        )
    stop = agreed(ranks, stop)
    said: list[str] = []  # until the log is open

    def say(line: str) -> None:
        progress.say(line)
        said.append(line)

    renderer = _renderer(run, config, ranks, say)
    saved = resumable(run, config, total_steps=config.max_steps, stop=stop, ranks=ranks)
    context = Context(
        config=config,
        renderer=renderer,
        run=run,
        ranks=ranks,
        progress=progress,
        say=say,
        dtype=torch.bfloat16 if trains_in_bf16(config) else torch.float32,
        state=saved.state,
    )
    with contextlib.ExitStack() as held:
        training = load_training(held, context, saved.folder, tasks, canary)
        chain = saved.restore(training.engine, config)
        _publish(training, saved.first)
        for line in _check(training, saved.first):
            say(line)
        sink = held.enter_context(
            sink_on(
                ranks,
                run,
                config,
                stage="grpo",
                total_steps=config.max_steps,
                first_step=saved.first,
                later_steps=config.steps_of_the_end,
            )
        )
        for line in said:
            sink.note(line)
        figures = _take_steps(training, saved, chain, sink, progress, stop)
    return _finish(training, figures)


def _renderer(
    run: RunDir, config: GRPOConfig, ranks: Ranks, say: Callable[[str], None]
) -> Renderer:
    """Return how the policy is spoken to; its prompts, and the student's, stay with the run."""
    taught = config.environment == "teaching"
    student = (config.student_here or ELSEWHERE) if taught else None
    choose = partial(configured_prompts, config, teacher=config.model_name_or_path, student=student)

    def kept() -> Prompts:
        prompts = run_prompts(run.prompts, choose, say=say)
        keep_prompts(run.prompts, prompts)
        return prompts

    prompts = ranks.on_main(kept, "the prompts")
    return load_renderer(config.model_name_or_path, prompts, say=say)


def _take_steps(
    training: Training,
    saved: Resumable,
    chain: Chain,
    sink: MetricSink,
    progress: Progress,
    stop: StopRequest,
) -> dict[str, float]:
    """Take the steps that are left; return the figures of the last line of metrics."""
    config, total = training.config, training.config.max_steps
    watch, num_skipped = RewardWatch(saved.state.get("watch")), int(saved.state.get("skipped", 0))
    rollouts = Ahead(
        lambda step: _rolled_out(training, step), ahead=config.async_rollouts, last=total
    )

    def learn(step: int, _: int) -> Learned:
        nonlocal num_skipped
        figures, samples, groups = _watched_step(training, watch, rollouts, step)
        if step % _SHOWN == 1:
            sink.show(step, "rollouts", sample_text(groups))
        for warning in watch.warnings():
            sink.note(f"warning: {warning}")
        num_skipped += "train/loss" not in figures
        gain = "uplift" if "train/uplift" in figures else "reward"
        note = f"{gain} {figures[f'train/{gain}']:+.2f}"
        return Learned(metrics=figures, note=note, rows=samples)

    def after_step(step: int) -> None:
        kept = {"skipped": num_skipped, "watch": watch.state(), **training.environment.state()}
        saved.save_if_due(step, training.engine, training.actor.tokenizer, **kept)

    loop = Loop(
        sink=sink,
        progress=progress,
        stop=stop,
        chain=chain,
        logging_steps=config.logging_steps,
        window=saved.window,
        first_step=saved.first,
        after_step=after_step,
    )
    progress.begin(total, saved.first)
    with contextlib.closing(rollouts):
        line = loop.run(range(saved.first, total), learn)
    return {**line, "steps": total, "skipped_steps": num_skipped}


def _finish(training: Training, figures: Mapping[str, float]) -> Mapping[str, float]:
    """Write the trained policy, and how its training ended."""
    shown = {name: value for name, value in figures.items() if name != "steps"}
    state = {"global_step": figures["steps"], **shown}
    text = json.dumps(state, indent=2) + "\n"
    training.engine.refresh()
    if not training.ranks.is_main:
        return figures
    write_atomic(training.run.trainer_state, text)
    save_model(
        training.run.final,
        training.engine.model,
        training.actor.tokenizer,
        **training.final,
        extra={"trainer_state.json": text, **model_files(training.run.path)},
    )
    return figures


def _check(training: Training, first: int) -> list[str]:
    """Refuse what can't go well, and let the environment get ready. Returns findings.

    They begin with what a step consists of.
    """
    config, environment, actor = training.config, training.environment, training.actor
    tasks = coming_tasks(training.tasks, config, first)
    looks = config.max_steps // config.canary_steps > first // config.canary_steps
    environment.prepare([*tasks, *training.canary] if looks else tasks, actor)

    def probe() -> list[str]:
        size = config.length_probe_samples
        chosen = [tasks[i * len(tasks) // size] for i in range(size)]
        probes = environment.probe(chosen, actor, seed=derive_seed(config.seed, "length probe"))
        check_lengths(config, probes)
        return [found.line for found in probes]

    lines = [*batch_lines(config, world_size=training.ranks.size)]
    if config.length_probe_samples and not first:
        lines += training.ranks.on_main(probe, "the probe of lengths")
    return lines


def _watched_step(
    training: Training, watch: RewardWatch, rollouts: Rollouts, step: int
) -> tuple[dict[str, float], list[Tokens], list[Group]]:
    """Take a step; its figures with those of the watch and, where due, the canary.

    Its samples and its groups come with them.
    """
    figures, samples, groups = _step(training, rollouts, step)
    figures |= watch.after_step(figures)
    if training.canary and step % training.config.canary_steps == 0:
        environment, seed = training.environment, derive_seed(training.config.seed, "canary", step)

        def measured() -> float:
            groups = act(environment, training.actor, training.canary, seed=seed)
            return environment.measured([episode for group in groups for episode in group])

        accuracy = training.ranks.on_main(
            lambda: rollouts.between(measured), f"the canary after step {step}"
        )
        figures[f"canary/{environment.accuracy}"] = accuracy
        figures |= watch.look(step, accuracy, len(training.canary))
    return figures, samples, groups


def _publish(training: Training, version: int) -> Mapping[str, float]:
    """Sample from the weights as they are now."""
    with training.policy.training():  # a server that is brought back reads them too
        training.engine.refresh()
    return training.policy.publish(version)


def _rolled_out(training: Training, step: int) -> list[Group]:
    """Return this rank's share of a step's groups."""
    config = training.config
    first, mine = training.ranks.share(chosen_tasks(training.tasks, config, step))
    return roll_out(
        training.environment,
        training.actor,
        mine,
        num_samples=config.num_generations,
        seed=derive_seed(config.seed, "rollout", step),
        first_place=first,
    )


def _step(
    training: Training, rollouts: Rollouts, step: int
) -> tuple[dict[str, float], list[Tokens], list[Group]]:
    """Take a step; returns its figures, its samples, and the groups that they are of."""
    config, ranks = training.config, training.ranks
    started, waited = time.monotonic(), ranks.waited
    own = rollouts.take(step)
    # Every rank gets all groups: advantages, counts and metrics are then those of one process.
    shares = ranks.gather(own, f"rollouts of step {step}")
    groups = [group for share in shares for group in share]
    rolled_out = time.monotonic()
    samples, advantages = train_samples(
        groups,
        scale=config.scale_rewards,
        mask_truncated=config.mask_truncated_completions,
        epsilon=config.advantage_epsilon,
    )
    with training.policy.training(), ranks.phase(f"update of step {step}"):
        learned = update(
            training.engine,
            training.reference,
            samples,
            UpdateSettings.of(config, autocast=training.autocast),
            dropout_seed=derive_seed(config.seed, "dropout", step),
            ranks=ranks,
        )
    updated = time.monotonic()
    published = _publish(training, step)
    if ranks.is_main:
        kept = training.run.rollouts / f"{step_name(step)}.parquet"
        write_rollouts(kept, groups, samples, step)
    num_tokens = sum(sample.num_trained for sample in samples)
    figures = {
        **rollout_metrics(groups, advantages),
        **training.environment.metrics(groups, step),
        **learned,
        **({**published, **policy_age(groups, step)} if published else {}),
        "time/rollout": rolled_out - started,
        "time/update": updated - rolled_out,
        "time/waiting": ranks.waited - waited,
        "train/tokens_per_second": num_tokens / (updated - started),
    }
    return figures, samples, groups
