"""An update again, from the rollouts that a run kept: does it give what it gave then?

Input: a GRPO run's directory. Output: the chain after a step (training/chain.py), as it is now and
as it was logged. Nothing is sampled and no student is asked::

    newest checkpoint before the step, or the model that the run began with
      -> for each step up to it: rollouts/step_*.parquet -> update -> chain

Equal chains say that settings, samples, loss and every weight are the same, bit for bit. That holds
on the same kind of processor, with as many threads and as many processes: sums of several of them
differ in their last bits from those of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from atlas.config.grpo import GRPOConfig
from atlas.errors import AtlasError
from atlas.models.checkpoints import load_state, whole_checkpoints
from atlas.models.identity import model_digest
from atlas.parallel.distributed import ALONE, Ranks
from atlas.run.inputs import changed_inputs
from atlas.run.logged import logged_lines
from atlas.run.rollouts import TOKENS, kept_steps, step_rows
from atlas.run.run_dir import RunDir
from atlas.run.seeding import derive_seed
from atlas.training.chain import Chain, digest, fingerprint
from atlas.training.grpo_parts import grpo_engine, policy_of, reference_of
from atlas.training.update import UpdateSettings, update
from atlas.types import Tokens

_MODEL = "model_name_or_path"


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """One step, then and now."""

    step: int
    began: str
    """What the update was taken from: a checkpoint, or the first model."""
    chain: str
    logged_chain: str
    metrics: Mapping[str, float]
    """``train/loss`` and the others of the update; empty where no group was alive."""
    logged: Mapping[str, Any]
    """The line of the run's metrics."""

    @property
    def same(self) -> bool:
        """Whether it is the same, bit for bit."""
        return self.chain == self.logged_chain


def replay(
    run: RunDir,
    config: GRPOConfig,
    step: int,
    say: Callable[[str], None] = lambda line: None,
    *,
    ranks: Ranks = ALONE,
) -> Replayed:
    """Take the update of a step again; every rank calls this with the same, and gets the same.

    Args:
        run: Of GRPO; nothing in it is written.
        config: That it was begun with.
        step: From 1; one that was logged.
        say: Told of every step that is taken.
        ranks: Who trains together, as many as then.

    Raises:
        AtlasError: It can't be done; the message says which steps can.
    """
    lines = logged_lines(run.metrics)
    if step not in lines:
        raise AtlasError(f"{run.path} can't replay step {step}: {_can(run, lines)}")
    first, start = _start(run, config, step)
    missing = sorted({*range(first + 1, step + 1)}.difference(kept_steps(run.rollouts)))
    if missing:
        raise AtlasError(
            f"{run.path} can't replay step {step}: rollouts/ lacks step {missing[0]}, which comes "
            "before it or is it"
        )
    state = load_state(start) if start and ranks.is_main else {}
    # As a run goes on: rank 0 reads, the others get weights and states from it.
    folder = start if ranks.is_main else None
    dressed = policy_of(config, folder, ranks)
    engine = grpo_engine(dressed.model, config, ranks, say)
    reference = reference_of(config, dressed.model, ranks)
    if start:
        engine.load_state(state.get("engine", {}))
    chain = Chain(state.get("chain"), config, partial(fingerprint, engine.trained))
    settings = UpdateSettings.of(config, autocast=dressed.autocast)
    found: Mapping[str, float] = {}
    for now in range(first + 1, step + 1):
        samples = _samples(run.rollouts, now)
        found = update(
            engine,
            reference,
            samples,
            settings,
            dropout_seed=derive_seed(config.seed, "dropout", now),
            ranks=ranks,
        )
        chain.add(now, digest(samples), found)
        say(f"step {now}: loss {found.get('train/loss', float('nan')):+.6f}")
    mine = Replayed(
        step=step,
        began=start.name if start else str(config.model_name_or_path),
        chain=chain.head,
        logged_chain=str(lines[step].get("chain", "")),
        metrics=found,
        logged=lines[step],
    )
    return ranks.broadcast(mine, "what was replayed")  # with shared weights each has its own chain


def _start(run: RunDir, config: GRPOConfig, step: int) -> tuple[int, Path | None]:
    """Return after which step to begin, and its checkpoint; of the first model 0 and None."""
    before = [
        (int(path.name.removeprefix("step_")), path) for path in whole_checkpoints(run.checkpoints)
    ]
    usable = [found for found in before if found[0] < step]
    if usable:
        return usable[-1]
    now = {_MODEL: model_digest(config.model_name_or_path)}
    if _MODEL in (changed_inputs(run.path, now) or ()):
        from_then = f"; steps after {before[0][0]} can be" if before else ""
        raise AtlasError(
            f"{run.path} can't replay step {step}: {config.model_name_or_path}, which it began "
            f"with, has changed, and no checkpoint is as old{from_then}"
        )
    return 0, None


def _samples(folder: Path, step: int) -> list[Tokens]:
    rows = step_rows(folder, step, ["task_id", TOKENS])
    if rows and TOKENS not in rows[0]:
        raise AtlasError(f"{folder} is of an older Atlas, which kept no tokens to replay")
    return [tokens_of(learned, row["task_id"]) for row in rows for learned in row[TOKENS]]


def tokens_of(learned: Mapping[str, Any], source: str) -> Tokens:
    """Return what an update learned from, of its cell in a table of rollouts."""
    return Tokens(
        ids=tuple(learned["ids"]),
        trained=tuple((start, end) for start, end in learned["trained"]),
        logprobs=tuple(learned["logprobs"]),
        prefix=learned["prefix"],
        advantage=learned["advantage"],
        source=source,
    )


def _can(run: RunDir, lines: Mapping[int, Mapping[str, Any]]) -> str:
    if not lines:
        return "nothing was logged"
    return f"it has no line in {run.metrics.name}, which has steps {min(lines)} to {max(lines)}"
