"""What the policy that is trained meets: the protocol of an environment, and how one is made.

An environment is a class in a file or folder of its own. It says what the policy is asked, answers
it where there are several turns, and scores what came of it::

    begin(tasks)        -> prompts      one a task; a group of episodes begins with each
    reply(episodes)     -> replies      what it says to the policy's turn; None ends an episode
    outcome(episodes)   -> episodes     with their scores
    score(groups)       -> groups       what waits for others, beside the sampling of the next share

Only `begin` and `outcome` have to be written; docs/environments.md builds one. The key
``environment`` names one of `ENVIRONMENTS`, or a user's own, ``my_module:MyEnvironment``, which is
called with a `Context`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from transformers import PreTrainedTokenizerBase

from atlas.config.grammar.own_code import load_named, load_own
from atlas.config.grpo import GRPOConfig
from atlas.config.parts.environments import ENVIRONMENTS
from atlas.environments.actor import Actor
from atlas.environments.lengths import LengthProbe, longest_first, probed
from atlas.environments.metrics import mean
from atlas.errors import AtlasError
from atlas.parallel.distributed import ALONE, Ranks
from atlas.prompts.renderer import Renderer
from atlas.rollouts.generator import Prompt
from atlas.run.progress import Progress, Silent
from atlas.run.run_dir import RunDir
from atlas.types import Episode, Task

E = TypeVar("E", bound=Episode)


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What an environment is made from."""

    config: GRPOConfig
    renderer: Renderer
    """How the policy is spoken to: its tokenizer and prompts."""
    run: RunDir
    """For what it keeps there."""
    ranks: Ranks = ALONE
    progress: Progress = field(default_factory=Silent)
    say: Callable[[str], None] = Silent().say
    """Puts a line into the log."""
    dtype: torch.dtype = torch.float32
    """Of models that are frozen."""
    state: Mapping[str, Any] | None = None
    """What `Environment.state` returned when an earlier part of the run was saved."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's."""
        return self.renderer.tokenizer


@runtime_checkable
class Environment(Protocol[E]):
    """Meets the policy. Subclass it; what is written here is what most environments do."""

    num_shares: int = 1
    """Parts of a step that are scored one behind the other, each beside the next one's sampling."""
    outcome_waits: bool = False
    """`outcome` waits for other machines, and may do so beside the sampling, too."""
    accuracy: str = "accuracy"
    """What `measured` is called in the log."""

    def begin(self, tasks: Sequence[Task]) -> Sequence[Prompt]:
        """Return the first prompt of each task, as token ids."""
        ...

    def reply(self, episodes: Sequence[Episode]) -> Sequence[str | None]:
        """Answer the last turn of each episode; None where it ends. A cut turn is its last."""
        return [None] * len(episodes)

    def outcome(self, episodes: Sequence[Episode]) -> Sequence[E]:
        """Return the episodes with what came of them, and their scores."""
        ...

    def score(self, groups: Sequence[tuple[E, ...]]) -> Sequence[tuple[E, ...]]:
        """Return the groups with what scorers that wait for others say, as judges do."""
        return groups

    def prepare(self, tasks: Sequence[Task], actor: Actor) -> None:
        """Refuse what can't go well with these tasks, and work out what they need.

        Raises:
            AtlasError: A prompt and its completion can be longer than the policy's window.
        """
        prompts = self.begin(longest_first(tasks))
        actor.require_room("policy", max(map(len, prompts)))

    def probe(self, tasks: Sequence[Task], actor: Actor, *, seed: int) -> list[LengthProbe]:
        """Sample once for each task, to see how many completions training would cut."""
        return [probed(actor, self.begin(tasks), seed=seed, who="completions")[0]]

    def measured(self, episodes: Sequence[E]) -> float:
        """Return how good episodes on held-out tasks are: by other means than the reward, if any.

        Returns:
            The mean of what could be told; not a number where nothing could.
        """
        return mean([e.score.value for e in episodes if e.score.value is not None])

    def metrics(self, groups: Sequence[Sequence[E]], step: int) -> Mapping[str, float]:
        """Return what is logged of a step besides the reward and its parts."""
        episodes = [episode for group in groups for episode in group]
        return {
            "train/completion_tokens": fmean(episode.num_tokens for episode in episodes),
            "train/turns": fmean(len(episode.turns) for episode in episodes),
        }

    def state(self) -> Mapping[str, Any]:
        """Return what a checkpoint has to keep."""
        return {}

    def close(self) -> None:
        """Stop what is under way."""


def load_environment(context: Context) -> Environment[Any]:
    """Return the configured environment.

    Raises:
        AtlasError: It isn't allowed, can't be imported or made, or is none.
    """
    name, allowed = context.config.environment, context.config.allow_targets or ()
    if name in ENVIRONMENTS:
        return load_named("environment", ENVIRONMENTS[name])(context)
    made = load_own("environment", name, allowed)(context)
    if not isinstance(made, Environment):
        raise AtlasError(
            f"environment '{name}' made a {type(made).__name__}; it must be a subclass of "
            "atlas.environments.environment.Environment"
        )
    return made
