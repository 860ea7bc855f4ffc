"""GRPO: the teacher is reinforced for what its teaching does to a frozen student.

Input: a teacher to start from, a student, tasks. Output: a run directory with the trained teacher
in ``final/``. A step::

    tasks -> rollouts (groups.py) -> advantages -> update (update.py) -> metrics, checkpoint

Every random number of a step derives from the seed and the step, so that a run that was stopped
and goes on from a checkpoint is the run that wasn't (up to rounding: what the student does alone is
computed again, in batches of other sizes).
"""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atlas.config.grpo import GRPOConfig, computes_whole
from atlas.config.resolve import batch_lines
from atlas.config.sampling import SamplingConfig
from atlas.environments.lengths import check_lengths, check_windows, probe_lengths, windows_of
from atlas.environments.teaching.dialogue import Student, Teacher
from atlas.environments.teaching.lessons import Classroom, roll_out
from atlas.environments.teaching.likelihood import AnswerLikelihood
from atlas.errors import AtlasError
from atlas.machine.precision import training_device
from atlas.models.checkpoints import load_model, load_tokenizer, save_model, step_name
from atlas.models.passes.forward import prepare_forward
from atlas.models.passes.reference import Adapted
from atlas.models.policy import Policy, load_policy, trains_in_bf16
from atlas.models.rounding import round_products
from atlas.objectives.loss_types import LossSettings
from atlas.parallel.distributed import ALONE, Ranks, agreed
from atlas.parallel.engine.choice import engine_for, loading_device
from atlas.parallel.engine.protocol import Engine
from atlas.parallel.sink import sink_on
from atlas.policy.ahead import Ahead
from atlas.policy.engine import PolicyEngine, ToSample, policy_engine, student_generator
from atlas.rewards.configured import configured_reward, uplift_weights
from atlas.rewards.judges.training import TrainingJudges
from atlas.rewards.overlong import Overlong
from atlas.rollouts.generator import Sampling
from atlas.run.files import write_atomic
from atlas.run.lineage import lineage_files
from atlas.run.metrics import MetricSink
from atlas.run.progress import Progress
from atlas.run.run_dir import RunDir
from atlas.run.seeding import derive_seed
from atlas.run.stopping import StopRequest
from atlas.training.resuming import resumable
from atlas.training.rollout_metrics import policy_age, rollout_metrics, write_rollouts
from atlas.training.samples import train_samples
from atlas.training.update import update
from atlas.training.watch import RewardWatch, canary_accuracy, set_aside
from atlas.types import RolloutGroup, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """Everything that a step needs."""

    config: GRPOConfig
    engine: Engine
    reference: PreTrainedModel | None
    room: Classroom
    policy: PolicyEngine
    tokenizer: PreTrainedTokenizerBase
    student_model: PreTrainedModel
    settings: LossSettings
    canary: Sequence[Task]
    judges: TrainingJudges
    ranks: Ranks
    autocast: bool
    """The update computes in bfloat16 where that is safe."""


Rollouts = Ahead[list[RolloutGroup]]


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
    """Reinforce a teacher; goes on from the newest whole checkpoint where there is one.

    Every rank calls this with the same; rank 0 alone reads and writes ``run``.

    Args:
        run: Where everything is written.
        config: Models, sampling, loss, schedule.
        tasks: What is taught.
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
    total = config.max_steps
    stop = agreed(ranks, stop)
    saved = resumable(run, config, total_steps=total, stop=stop, ranks=ranks)
    first, skipped = saved.first, int(saved.state.get("skipped", 0))
    explanations = run.path / "rim_explanations.jsonl"
    judges = TrainingJudges(
        config, spent=saved.state.get("judges"), explanations=explanations, ranks=ranks
    )
    dressed = load_policy(config, saved.folder, device=loading_device(config, ranks.size))
    said: list[str] = []
    training = _prepare(run, config, dressed, judges, canary, ranks, say=_both(said, progress))
    saved.restore(training.engine)
    figures: Mapping[str, float] = {}
    watch = RewardWatch(saved.state.get("watch"))
    rollouts = Ahead(
        lambda step: _rolled_out(training, tasks, step), ahead=config.async_rollouts, last=total
    )
    with contextlib.ExitStack() as held:
        # Whatever comes, servers that were started here are stopped.
        for closed in (judges, training.policy, rollouts):
            held.enter_context(contextlib.closing(closed))
        _publish(training, first)
        lines = [*dressed.lines, *_check(training, tasks, probe=not saved.first)]
        progress.begin(total - first)
        sink = held.enter_context(
            sink_on(ranks, run, config, stage="grpo", total_steps=total, first_step=first)
        )
        _tell(said, lines, sink, progress)
        for step in range(first + 1, total + 1):
            stop.check()
            figures = _watched_step(run, training, watch, rollouts, step)
            for warning in watch.warnings():
                sink.note(f"warning: {warning}")
            skipped += "train/loss" not in figures
            progress.advance(note=f"uplift {figures['train/uplift']:+.2f}")
            if step % config.logging_steps == 0:
                sink.log(step, figures)
            kept = {"skipped": skipped, "watch": watch.state(), "judges": judges.state()}
            saved.save_if_due(step, training.engine, training.tokenizer, **kept)
    return _finish(run, training, {**figures, "steps": total, "skipped_steps": skipped})


def _both(kept: list[str], progress: Progress) -> Callable[[str], None]:
    """Return what shows a line at once and keeps it for the log, which isn't open yet."""

    def say(line: str) -> None:
        progress.say(line)
        kept.append(line)

    return say


def _tell(said: Sequence[str], lines: Sequence[str], sink: MetricSink, progress: Progress) -> None:
    """Put into the log what has been said and what hasn't; say that, too."""
    for line in said:
        sink.note(line)
    for line in lines:
        sink.note(line)
        progress.say(line)


def _finish(run: RunDir, training: Training, figures: Mapping[str, float]) -> Mapping[str, float]:
    """Write the trained teacher, and how its training ended."""
    shown = {name: value for name, value in figures.items() if name != "steps"}
    state = {"global_step": figures["steps"], **shown}
    text = json.dumps(state, indent=2) + "\n"
    training.engine.refresh()
    if not training.ranks.is_main:
        return figures
    write_atomic(run.trainer_state, text)
    save_model(
        run.final,
        training.engine.model,
        training.tokenizer,
        with_bin=True,
        extra={"trainer_state.json": text, **lineage_files(run.path)},
    )
    return figures


def _prepare(
    run: RunDir,
    config: GRPOConfig,
    dressed: Policy,
    judges: TrainingJudges,
    canary: Sequence[Task],
    ranks: Ranks,
    *,
    say: Callable[[str], None],
) -> Training:
    model = dressed.model
    tokenizer = load_tokenizer(config.model_name_or_path)
    half = torch.bfloat16 if dressed.autocast else torch.float32
    student_model = load_model(config.student_model, dtype=half, device=training_device())
    student_tokenizer = load_tokenizer(config.student_model)
    student = Student(
        student_generator(config, student_model, student_tokenizer),
        student_tokenizer,
        Sampling(max_new_tokens=config.student_max_new_tokens),
        approach_tokens=config.approach_max_new_tokens,
    )
    teaching = teaching_sampling(config)
    reward, scorers = configured_reward(config, judges.scorers)
    policy = policy_engine(
        ToSample(
            config=config,
            model=model,
            tokenizer=tokenizer,
            sampling=teaching,
            log=run.path / "server.log",
            say=say,
            ranks=ranks,
        )
    )
    return Training(
        config=config,
        engine=engine_for(
            model,
            config,
            total_steps=config.max_steps * config.num_iterations,
            ranks=ranks,
            whole=computes_whole(config),
            ready=prepare_forward,
            say=say,
        ),
        ranks=ranks,
        reference=_reference(config, model),
        room=Classroom(
            teacher=Teacher(policy.generator, tokenizer, teaching),
            student=student,
            likelihood=AnswerLikelihood(student_model, student_tokenizer),
            weights=uplift_weights(config),
            reward=reward,
            scorers=scorers,
            overlong=Overlong(
                limit=config.max_new_tokens,
                buffer=config.overlong_buffer,
                weight=config.overlong_penalty,
            )
            if config.overlong_buffer
            else None,
        ),
        student_model=student_model,
        canary=canary,
        judges=judges,
        autocast=dressed.autocast,
        policy=policy,
        tokenizer=tokenizer,
        settings=LossSettings(
            loss_type=config.loss_type,
            beta=config.beta,
            epsilon_low=config.epsilon_low,
            epsilon_high=config.epsilon_high,
            importance_cap=config.importance_cap,
            kl_estimator=config.kl_estimator,
            max_completion_length=config.max_new_tokens,
        ),
    )


def teaching_sampling(config: SamplingConfig) -> Sampling:
    """Return how teachings are drawn, in training and wherever the trained teacher is evaluated."""
    return Sampling(
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        min_p=config.min_p,
        repetition_penalty=config.repetition_penalty,
        stop=config.stop or (),
    )


def _reference(config: GRPOConfig, model: PreTrainedModel) -> PreTrainedModel | None:
    if not config.beta:
        return None
    # With its adapter switched off, the policy itself is what it started from.
    if isinstance(model, Adapted):
        return model
    model = load_model(config.model_name_or_path, device=training_device())
    model.requires_grad_(False)
    prepare_forward(model)  # in float32, where a difference shows
    return round_products(model) if trains_in_bf16(config) else model


def _check(training: Training, tasks: Sequence[Task], *, probe: bool) -> list[str]:
    """Refuse what can't go well; what the student does alone is known then. Returns findings.

    They begin with what a step consists of.
    """
    config, room = training.config, training.room
    windows = windows_of(
        config,
        room,
        tasks,
        teacher=training.engine.model,
        student=training.student_model,
    )
    check_windows(config, windows)
    # All at once: what the student does alone is the longest text, and large batches are cheap.
    ranks = training.ranks
    _, mine = ranks.share(tasks)
    known = dict(zip([task.id for task in mine], room.student.alone(mine), strict=True))
    for elsewhere in ranks.gather(known, "what the student does alone"):
        room.student.remember(elsewhere)

    def probed() -> list[str]:
        probes = probe_lengths(config, room, tasks, windows)
        check_lengths(config, probes)
        return [found.line for found in probes]

    lines = [*batch_lines(config, world_size=ranks.size)]
    if probe and config.length_probe_samples:
        lines += ranks.on_main(probed, "the probe of lengths")
    return lines


def _watched_step(
    run: RunDir, training: Training, watch: RewardWatch, rollouts: Rollouts, step: int
) -> Mapping[str, float]:
    """Take a step; its figures with those of the judges, the watch and, where due, the canary."""
    figures = {**_step(run, training, rollouts, step), **training.judges.after_step(step)}
    figures |= watch.after_step(figures)
    if training.canary and step % training.config.canary_steps == 0:
        seed = derive_seed(training.config.seed, "canary", step)
        room = training.room

        def measured() -> float:
            return canary_accuracy(room.teacher, room.student, training.canary, seed=seed)

        accuracy = training.ranks.on_main(
            lambda: rollouts.between(measured), f"the canary after step {step}"
        )
        figures |= watch.look(step, accuracy, len(training.canary))
    return figures


def _publish(training: Training, version: int) -> Mapping[str, float]:
    """Sample from the weights as they are now."""
    with training.policy.training():  # a server that is brought back reads them too
        training.engine.refresh()
    return training.policy.publish(version)


def _rolled_out(training: Training, tasks: Sequence[Task], step: int) -> list[RolloutGroup]:
    """Return this rank's share of a step's rollouts."""
    config = training.config
    first, mine = training.ranks.share(chosen_tasks(tasks, config, step))
    return roll_out(
        training.room,
        mine,
        num_samples=config.num_generations,
        seed=derive_seed(config.seed, "rollout", step),
        first_place=first,
    )


def _step(run: RunDir, training: Training, rollouts: Rollouts, step: int) -> Mapping[str, float]:
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
            training.settings,
            temperature=config.temperature,
            max_tokens=config.max_tokens_per_micro_batch,
            num_iterations=config.num_iterations,
            autocast=training.autocast,
            dropout_seed=derive_seed(config.seed, "dropout", step),
            ranks=ranks,
        )
    updated = time.monotonic()
    published = _publish(training, step)
    if ranks.is_main:
        write_rollouts(run.rollouts / f"{step_name(step)}.parquet", groups)
    num_tokens = sum(sample.num_trained for sample in samples)
    return {
        **rollout_metrics(groups, advantages),
        **learned,
        **({**published, **policy_age(groups, step)} if published else {}),
        "time/rollout": rolled_out - started,
        "time/update": updated - rolled_out,
        "time/waiting": ranks.waited - waited,
        "train/tokens_per_second": num_tokens / (updated - started),
    }


def chosen_tasks(tasks: Sequence[Task], config: GRPOConfig, step: int) -> list[Task]:
    """Return the tasks of a step: a walk through all of them, in a new order each epoch."""
    size = config.prompts_per_step
    chosen: list[Task] = []
    for place in range((step - 1) * size, step * size):
        epoch, index = divmod(place, len(tasks))
        chosen.append(tasks[_order(len(tasks), config.seed, epoch)[index]])
    return chosen


def _order(size: int, seed: int, epoch: int) -> list[int]:
    order = list(range(size))
    random.Random(derive_seed(seed, "grpo order", epoch)).shuffle(order)
    return order
