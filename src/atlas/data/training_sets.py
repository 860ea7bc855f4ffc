"""The last step before a training: a `TraceDataset` to what the loops take, with its lineage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from atlas.config.sft import SFTConfig
from atlas.data.samples import Prompt, TraceDataset
from atlas.data.sft import examples_of, num_teachings
from atlas.data.sources.sessions import in_order
from atlas.errors import AtlasError
from atlas.models.prompts import configured_prompts, load_renderer
from atlas.prompts import TEACHERS, Prompts
from atlas.prompts.renderer import Renderer
from atlas.run.lineage import Lineage
from atlas.run.prompts_kept import run_prompts
from atlas.types import Task, Tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class SFTSet:
    """What the warm-up learns from."""

    train: list[Tokens]
    held: list[Tokens]
    lineage: Lineage


@dataclass(frozen=True, kw_only=True, slots=True)
class RLSet:
    """What the teacher is reinforced on."""

    tasks: list[Task]
    held: list[Task]
    """Never trained on."""
    lineage: Lineage


def sft_set(
    dataset: TraceDataset, renderer: Renderer, *, max_length: int, weigh_by: Sequence[str] = ()
) -> SFTSet:
    """Return the examples of a dataset's dialogues.

    Args:
        dataset: Read for SFT.
        renderer: How the teacher is spoken to.
        max_length: Longer examples are left out, and counted.
        weigh_by: What examples count by; see `atlas.data.sft.Dialogue.worth`.

    Raises:
        AtlasError: There is nothing to learn from; what was left out is named.
    """
    sft = dataset.sft
    train = examples_of(sft.train, renderer, max_length=max_length, weigh_by=weigh_by)
    held = examples_of(sft.eval, renderer, max_length=max_length)
    learned, evaluated = _sessions(e.source for e in train), _sessions(e.source for e in held)
    left_out = dict(sft.left_out)
    dialogues = {dialogue.session for dialogue in (*sft.train, *sft.eval)}
    if too_long := len(dialogues.difference(learned, evaluated)):
        left_out[f"sessions whose first teaching is longer than {max_length} tokens"] = too_long
    begun = [d for d in (*sft.train, *sft.eval) if d.session in {*learned, *evaluated}]
    if too_late := sum(map(num_teachings, begun)) - sum(len(e.trained) for e in (*train, *held)):
        left_out[f"later teachings that end beyond {max_length} tokens"] = too_late
    if not train:
        raise _nothing(dataset, sft.num_read, len(held), left_out)
    lineage = Lineage(
        source=dataset.source,
        train=learned,
        eval=evaluated,
        num_samples={"train": len(train), "eval": len(held)},
        filters=dataset.filters,
        left_out=left_out,
    )
    return SFTSet(train=train, held=held, lineage=lineage)


def teachers_renderer(
    config: SFTConfig, kept: Path | None = None, *, say: Callable[[str], None] = lambda line: None
) -> Renderer:
    """Return how the teacher is spoken to in its warm-up: only its own prompts, no student's.

    Args:
        config: Of the warm-up.
        kept: Folder of the prompts of its run; None where there is no run.
        say: Told what is worth knowing of them.

    Raises:
        AtlasError: The tokenizer or the prompts can't be used.
    """
    model = config.model_name_or_path

    def choose() -> Prompts:
        return configured_prompts(config, teacher=model).only(TEACHERS)

    prompts = choose() if kept is None else run_prompts(kept, choose, say=say)
    return load_renderer(model, prompts, say=say)


_OF_ANSWERS = {name: f"{name} of reference answers" for name in ("min_reward", "status_filters")}
"""For prompts every session counts: these filters only say whose answer may be the reference."""


def rl_set(dataset: TraceDataset) -> RLSet:
    """Return the tasks of a dataset that aren't held out.

    Raises:
        AtlasError: There is none; what was left out is named.
    """
    rl = dataset.rl
    if not rl.train:
        raise _nothing(dataset, rl.num_read, len(rl.eval), rl.left_out)
    lineage = Lineage(
        source=dataset.source,
        train=_sessions_of(rl.train),
        eval=_sessions_of(rl.eval),
        num_samples={"train": len(rl.train), "eval": len(rl.eval)},
        filters={_OF_ANSWERS.get(name, name): value for name, value in dataset.filters.items()},
        left_out=rl.left_out,
    )
    return RLSet(
        tasks=[prompt.task for prompt in rl.train],
        held=[prompt.task for prompt in rl.eval],
        lineage=lineage,
    )


def counts(left_out: Mapping[str, int]) -> str:
    """Return what was left out in words: ``3 broken lines, 12 sessions without guidance``."""
    return ", ".join(f"{number} {reason}" for reason, number in sorted(left_out.items()))


def _sessions_of(prompts: Iterable[Prompt]) -> tuple[str, ...]:
    return _sessions(session for prompt in prompts for session in prompt.sessions)


def _sessions(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names), key=in_order))


def _nothing(
    dataset: TraceDataset, num_read: int, num_held: int, left_out: Mapping[str, int]
) -> AtlasError:
    reasons = f"; left out: {counts(left_out)}" if left_out else ""
    held = f"; {num_held} held out by eval_split_ratio" if num_held else ""
    chosen = ", ".join(f"{name}={value}" for name, value in dataset.filters.items())
    return AtlasError(
        f"nothing to train on in {dataset.source}: {num_read} sessions or rows passed {chosen}"
        f"{reasons}{held}; loosen the filters or record more sessions"
    )
