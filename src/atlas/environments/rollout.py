"""Tasks to groups of scored episodes: a policy acts in an environment.

All episodes of a call take their turns together: the engine gets one list of prompts a turn. The
first turn shares a prompt within each group, and its random numbers are those of the engine's
places; the later ones are drawn by a seed of their own.

Input: an environment, an actor, tasks. Output: a tuple of episodes a task.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from atlas.environments.actor import Actor
from atlas.environments.environment import Environment
from atlas.run.seeding import derive_seed
from atlas.types import Completion, Episode, Task

E = TypeVar("E", bound=Episode)


def roll_out(
    environment: Environment[E],
    actor: Actor,
    tasks: Sequence[Task],
    *,
    seed: int,
    num_samples: int = 1,
    first_place: int = 0,
) -> list[tuple[E, ...]]:
    """Return one group of ``num_samples`` scored episodes for each task.

    Scorers that wait for other machines read a share of the groups while the next one is sampled;
    so do students that answer elsewhere.

    Args:
        tasks: P tasks.
        num_samples: G episodes a task.
        first_place: Place of the first task among the step's: another process may have the others.
    """
    size = -(-len(tasks) // environment.num_shares)
    starts = range(0, len(tasks), size or 1)

    def come(episodes: Sequence[Episode]) -> list[tuple[E, ...]]:
        return _grouped(environment.outcome(episodes), num_samples)

    def scored(groups: Future[list[tuple[E, ...]]]) -> Sequence[tuple[E, ...]]:
        return environment.score(groups.result())

    with (
        ThreadPoolExecutor(environment.num_shares, "atlas-outcomes") as outcomes,
        ThreadPoolExecutor(1, "atlas-scorers") as scoring,
    ):
        waiting: list[Future[Sequence[tuple[E, ...]]]] = []
        for start in starts:
            episodes = _turns(
                environment,
                actor,
                tasks[start : start + size],
                seed=seed,
                num_samples=num_samples,
                first_place=first_place + start,
            )
            if len(starts) == 1:
                return list(environment.score(come(episodes)))
            if environment.outcome_waits:
                waiting.append(scoring.submit(scored, outcomes.submit(come, episodes)))
            else:  # in this thread, which has the device
                waiting.append(scoring.submit(environment.score, come(episodes)))
        return [group for share in waiting for group in share.result()]


def act(
    environment: Environment[E],
    actor: Actor,
    tasks: Sequence[Task],
    *,
    seed: int,
    num_samples: int = 1,
    first_place: int = 0,
) -> list[tuple[E, ...]]:
    """Do the same without the scorers that wait for others."""
    episodes = _turns(
        environment, actor, tasks, seed=seed, num_samples=num_samples, first_place=first_place
    )
    return _grouped(environment.outcome(episodes), num_samples)


def _grouped(episodes: Sequence[E], size: int) -> list[tuple[E, ...]]:
    return [tuple(episodes[i : i + size]) for i in range(0, len(episodes), size)]


def _turns(
    environment: Environment[E],
    actor: Actor,
    tasks: Sequence[Task],
    *,
    seed: int,
    num_samples: int,
    first_place: int,
) -> list[Episode]:
    """Return the episodes with all that was said in them, a group behind the other.

    An episode ends where the environment ends it, where a turn was cut, and where another one may
    not fit into the policy's window.
    """
    prompts = environment.begin(tasks)
    first = actor.complete(prompts, num_samples=num_samples, seed=seed, first_place=first_place)
    episodes = [
        Episode(task=task, turns=(completion,))
        for task, group in zip(tasks, first, strict=True)
        for completion in group
    ]
    going, turn = list(range(len(episodes))), 1
    while going := [i for i in going if not episodes[i].truncated]:
        answered: dict[int, tuple[str, list[int]]] = {}
        for i, reply in zip(going, environment.reply([episodes[i] for i in going]), strict=True):
            if reply is not None:
                prompt = _next_prompt(actor, episodes[i].turns[-1], reply)
                if actor.has_room(len(prompt)):
                    answered[i] = reply, prompt
        if not answered:
            break
        said = actor.complete(
            [prompt for _, prompt in answered.values()],
            seed=derive_seed(seed, "turn", turn),
            first_place=first_place * num_samples,
        )
        for (i, (reply, _)), (completion,) in zip(answered.items(), said, strict=True):
            before = episodes[i]
            episodes[i] = replace(
                before, turns=(*before.turns, completion), replies=(*before.replies, reply)
            )
        going, turn = list(answered), turn + 1
    return episodes


def _next_prompt(actor: Actor, turn: Completion, reply: str) -> list[int]:
    """Return all that was there, and the reply: what is learned from later is what was read now."""
    return [*turn.prompt_ids, *turn.token_ids, *actor.renderer.reply(turn.token_ids, reply)]
