"""Groups of episodes to the metrics of every environment, and to the table that keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from operator import attrgetter
from pathlib import Path
from textwrap import indent
from typing import Any

import pyarrow
import pyarrow.parquet

from atlas.data.recorded import facts_in
from atlas.environments.metrics import mean, part
from atlas.objectives.advantages import AdvantageResult
from atlas.rewards.repetition import loops, repetition
from atlas.run.files import replacing
from atlas.training.samples import episode_tokens
from atlas.types import Episode, Lesson, Tokens

Groups = Sequence[Sequence[Episode]]
_ABSTAINED = "_abstained"
_OWN_NAMES = frozenset({"uplift", "degraded", "leaked", "dense", "overlong"})
"""Parts that have had metrics of their own name from the beginning."""


def rollout_metrics(groups: Groups, result: AdvantageResult) -> Mapping[str, float]:
    """Return the means over the step's episodes; rates are shares from 0 to 1."""
    episodes = [episode for group in groups for episode in group]
    values = [one.score.value for one in episodes if one.score.value is not None]
    texts = [turn.text for one in episodes for turn in one.turns]
    overlong = part(episodes, "overlong")
    return {
        "train/reward": mean(values),
        "train/dead_groups": result.num_dead / len(groups),
        "train/dead_groups_equal": result.num_equal / len(groups),
        "train/dead_groups_unscored": result.num_too_few_scored / len(groups),
        "train/dead_groups_right": _all_right(groups, result) / len(groups),
        "train/thought_tokens": mean(sum(t.thought_tokens for t in one.turns) for one in episodes),
        "train/unfinished_thoughts": mean(float(bool(one.turns[-1].withheld)) for one in episodes),
        "train/truncated_share": mean(float(one.truncated) for one in episodes),
        "train/abstained_share": 1 - len(values) / len(episodes),
        **({"train/overlong": mean(overlong)} if overlong else {}),
        "train/repetition": mean(repetition(text) for text in texts),
        "train/loop_rate": mean(float(loops(text)) for text in texts),
        **_by_part(episodes),
    }


def sample_text(groups: Groups) -> str:
    """Return the best and the worst episode of the group whose scores differ most, as Markdown.

    Example, of one that a student was taught in: the task, then twice what the teacher said, with
    its reward, and the student's answer.
    """
    values = [
        sorted((e for e in group if e.score.value is not None), key=attrgetter("score.value"))
        for group in groups
    ]
    scored = [group for group in values if group]
    if not scored:
        return "no score could be told for any of the step's episodes"
    # Twice, for a group with one score: its best is its worst.
    worst, *_, best = 2 * max(scored, key=lambda group: _value(group[-1]) - _value(group[0]))
    parts = [("task", best.task.question)]
    for title, episode in (("best", best), ("worst", worst)):
        parts.append((f"{title}, reward {episode.score.value:+.3f}", episode.text))
        if isinstance(episode, Lesson):
            parts.append(("the student's answer to it", episode.attempt.text))
    return "\n\n".join(f"**{title}**\n\n{indent(text, '    ')}" for title, text in parts)


def _value(episode: Episode) -> float:
    return episode.score.value or 0.0


def _all_right(groups: Groups, result: AdvantageResult) -> int:
    """Return how many groups are dead with nothing but right answers: there was nothing to gain."""
    return sum(
        not live
        and all(isinstance(e, Lesson) and e.attempt.right >= 1 and not e.leak for e in group)
        for group, live in zip(groups, result.live_P.tolist(), strict=True)
    )


def _by_part(episodes: Sequence[Episode]) -> Mapping[str, float]:
    """Return every part by itself: its mean, how often it abstained, what it adds to the reward.

    ``reward/<part>`` is weighted, and a part that was shut by its gate adds 0, so that these means
    sum to ``train/reward``.
    """
    parts = {name for one in episodes for name in one.score.parts} - _OWN_NAMES
    rewarded = [one for one in episodes if one.score.value is not None]
    weighted = {name for one in rewarded for name in one.score.weighted}
    metrics: dict[str, float] = {}
    for name in sorted(parts):
        if name.endswith(_ABSTAINED):
            of = name.removesuffix(_ABSTAINED)
            metrics[f"train/abstained_share/{of}"] = mean(part(episodes, name))
        elif not name.startswith("leak_"):
            metrics[f"part/{name}"] = mean(part(episodes, name))
    for name in sorted(weighted):
        added = [one.score.weighted.get(name, 0.0) for one in rewarded]
        metrics[f"reward/{name}"] = mean(added)
    return metrics


def write_rollouts(path: Path, groups: Groups, samples: Sequence[Tokens], step: int) -> None:
    """Write every episode of a step as one parquet table, a row each.

    Args:
        path: Of the file.
        groups: P groups of G members.
        samples: What the step learns from, in the order of the groups. The table keeps all of it,
            so that the update can be taken again; an advantage is null where a member isn't in it.
        step: The optimiser step, from 1.

    Raises:
        AtlasError: The disk is full.
    """
    episodes = [episode for group in groups for episode in group]
    # Arrow takes the columns of the first row; a part that only some scores have must be there too.
    parts = dict.fromkeys(name for one in episodes for name in one.score.parts)
    weighted = dict.fromkeys(name for one in episodes for name in one.score.weighted)
    acts = any(
        isinstance(one, Lesson) and (one.alone.turns or one.attempt.turns) for one in episodes
    )
    left = iter(samples)
    rows = []
    for p, group in enumerate(groups):
        for g, one in enumerate(group):
            learned = list(islice(left, len(episode_tokens(one, None))))
            rows.append(
                {
                    "step": step,
                    "group": p,
                    "member": g,
                    "advantage": learned[0].advantage if learned else None,
                    "task_id": one.task.id,
                    "family": one.task.family,
                    "question": one.task.question,
                    "answer": one.task.answer,
                    **facts_in(one.task),
                    **_said(one),
                    **(_turns(one) if acts else {}),
                    "truncated": one.truncated,
                    "reward": one.score.value,
                    "reason": one.score.reason,
                    "policy_version": one.turns[-1].policy_version,
                    **{f"part_{name}": one.score.parts.get(name) for name in parts},
                    **{f"reward_{name}": one.score.weighted.get(name) for name in weighted},
                    "tokens": [_learned(row) for row in learned],
                }
            )
    table = pyarrow.Table.from_pylist(rows)
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")


def _learned(row: Tokens) -> Mapping[str, Any]:
    """Return what `atlas.training.replay` makes the row of again."""
    names = ("ids", "trained", "logprobs", "prefix", "advantage")
    return {name: getattr(row, name) for name in names}


def _said(episode: Episode) -> Mapping[str, Any]:
    thoughts = "\n".join(filter(None, (turn.thoughts for turn in episode.turns)))
    if not isinstance(episode, Lesson) or not episode.teaching.num_tokens:
        return {
            "completion": episode.text,
            "completion_tokens": episode.num_tokens,
            "thoughts": thoughts,
        }
    alone, attempt = episode.alone, episode.attempt
    return {
        "baseline": alone.text,
        "baseline_right": alone.right if alone.told else None,
        "baseline_tokens": alone.tokens,
        "approach": episode.approach.text,
        "teaching": episode.teaching.text,
        "teaching_tokens": episode.teaching.num_tokens,
        "attempt": attempt.text,
        "attempt_right": attempt.right if attempt.told else None,
        "attempt_tokens": attempt.tokens,
        "attempt_finished": attempt.finished,
        "leaked": episode.leak.reason if episode.leak else "",
        "thoughts": episode.teaching.thoughts,
        "attempt_thoughts": attempt.thoughts,
    }


def _turns(episode: Episode) -> Mapping[str, str]:
    """Return every turn of a student that acts with tools, as JSON: what it called, what it got."""
    alone, attempt = (
        (episode.alone, episode.attempt) if isinstance(episode, Lesson) else (None, None)
    )
    return {
        name: json.dumps([asdict(turn) for turn in one.turns] if one else [])
        for name, one in (("baseline_turns", alone), ("attempt_turns", attempt))
    }


def policy_age(groups: Groups, step: int) -> Mapping[str, float]:
    """Return how many versions older than the policy the weights were that sampled a step's groups.

    Args:
        groups: All of the step.
        step: The first is 1, and its policy version 0.
    """
    versions = [t.policy_version for group in groups for one in group for t in one.turns]
    return {"serving/policy_age": step - 1 - sum(versions) / max(len(versions), 1)}
