"""Before training: how many completions will be cut at their limit?

Input: an actor, prompts. Output: a line for the user, or a refusal. A completion that is cut was
not finished: its reward says little, and by default it is left out of the loss, so a run that cuts
most of them learns from the rest alone, or from nothing.

The samples are drawn with twice the room that training gives, so that the line can also say which
limit would do.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from atlas.config.grpo import GRPOConfig
from atlas.environments.actor import Actor
from atlas.errors import AtlasError
from atlas.rollouts.generator import Prompt
from atlas.types import Completion, Task

# Rendering every prompt of a large set would take long; the longest questions make the longest.
_LONGEST = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class LengthProbe:
    """How long sampled completions get, and what a limit does to them.

    Example: one of four is cut at 8, and 12 would keep more than nine of ten:
        >>> probe = LengthProbe(who="teachings", key="max_new_tokens", limit=8, tried=16,
        ...                     lengths=(3, 5, 8, 12))
        >>> probe.cut_share, probe.proposal
        (0.25, 12)
    """

    who: str
    key: str
    """Of the configuration, which sets the limit."""
    limit: int
    tried: int
    """The limit that the probe itself had."""
    lengths: tuple[int | None, ...]
    """In tokens; None where even ``tried`` was not enough."""

    @property
    def cut_share(self) -> float:
        """Share of the completions that ``limit`` cuts."""
        cut = sum(length is None or length > self.limit for length in self.lengths)
        return cut / len(self.lengths)

    @property
    def proposal(self) -> int | None:
        """Smallest limit that keeps nine of ten whole; None if that is more than was tried."""
        needed = -(-len(self.lengths) * 9 // 10)
        ended = sorted(length for length in self.lengths if length is not None)
        return ended[needed - 1] if len(ended) >= needed else None

    @property
    def line(self) -> str:
        """What was found, for a person."""
        enough = f"{self.proposal}" if self.proposal else f"more than {self.tried}"
        cut = round(self.cut_share * len(self.lengths))
        return (
            f"{cut} of {len(self.lengths)} sampled {self.who} are cut at {self.key}={self.limit}; "
            f"nine of ten end within {enough} tokens"
        )


def longest_first(
    tasks: Sequence[Task], beside: Callable[[Task], Iterable[str]] = lambda task: ()
) -> list[Task]:
    """Return the tasks with the longest questions: their prompts are the longest.

    Args:
        beside: Says what else of a task is in its prompt.
    """

    def length(task: Task) -> int:
        return len(task.question) + sum(map(len, beside(task)))

    return heapq.nlargest(_LONGEST, tasks, key=length)


def probed(
    actor: Actor,
    prompts: Sequence[Prompt],
    *,
    seed: int,
    who: str,
    key: str = "max_new_tokens",
) -> tuple[LengthProbe, list[Completion]]:
    """Complete each prompt once, with twice the room that training gives where that fits.

    Args:
        actor: With the limit of training.
        prompts: At least one.
        who: What the completions are called.
        key: Of the configuration, which sets the limit.
    """
    limit = actor.sampling.max_new_tokens
    room = 2 * limit if actor.window is None else actor.window - max(map(len, prompts))
    tried = max(limit, min(2 * limit, room))
    made = actor.with_limit(tried).complete(prompts, seed=seed)
    completions = [completion for (completion,) in made]
    lengths = tuple(c.num_tokens if c.finish_reason == "stop" else None for c in completions)
    probe = LengthProbe(who=who, key=key, limit=limit, tried=tried, lengths=lengths)
    return probe, completions


def check_lengths(config: GRPOConfig, probes: Sequence[LengthProbe]) -> None:
    """Refuse to train where too many completions would be cut.

    Raises:
        AtlasError: More than ``max_clipped_share`` of one kind.
    """
    for probe in probes:
        if probe.cut_share > config.max_clipped_share:
            enough = f"={probe.proposal}" if probe.proposal else f" to more than {probe.tried}"
            raise AtlasError(
                f"{probe.line}; set {probe.key}{enough}, or max_clipped_share="
                f"{probe.cut_share:.2f} to train all the same"
            )
