"""Parts to one reward: weights, caps, gates, and what an abstention means.

Input: for every teaching of a group, the score of each part. Output: one `Score` a teaching with
every part by itself, and what each added::

    reward = sum over parts of  weight * clip(value, -cap, cap)  where the part's gate is open

- A gate that is shut gives 0: ``right`` is open where the verifier says the taught answer is right.
  A teaching that leaks gets nothing but uplift's own verdict on it. One that was withheld, as when
  its thoughts didn't end, gets what the least of its group gets.
- A required part that abstains makes the whole score an abstention. For an optional one the mean of
  its group stands in, so that the member is neither better nor worse for it; where no member of the
  group has it, it is left out for all of them. An abstention is never read as 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from atlas.errors import AtlasError
from atlas.rewards.overlong import Overlong, with_overlong
from atlas.types import Lesson, Score

UPLIFT = "uplift"
JUDGES = "rim"
OWN = "own"

Gate = Literal["always", "right"]
Scores = Mapping[str, Score]
"""Of one teaching, by part."""
Group = tuple[Lesson, ...]

_NOT_ASKED = Score(value=None, reason="not asked")


class Scorer(Protocol):
    """Scores lessons; all of a step at once, so that it may work on many side by side."""

    def __call__(self, lessons: Sequence[Lesson]) -> Sequence[Score]:
        """Return one score each, in their order; an abstention where it can't tell."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One part of a reward."""

    name: str
    weight: float = 1.0
    """0 logs the part and rewards nothing for it."""
    cap: float | None = None
    gate: Gate = "always"
    required: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Reward:
    """The parts of a reward, with all that it takes to reward verified lessons by them."""

    parts: tuple[Part, ...] = (Part(name=UPLIFT),)
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    """Of the parts besides the verifier's, by name."""
    overlong: Overlong | None = None
    """None for no penalty for length."""

    def of(self, groups: Sequence[Group]) -> list[Group]:
        """Return the groups with the whole reward; a lesson's score was the verifier's part of it.

        A scorer is asked once, about all that it counts for.
        """
        flat = [lesson for group in groups for lesson in group]
        found: dict[str, list[Score]] = {UPLIFT: [lesson.score for lesson in flat]}
        for part in self.parts:
            if part.name == UPLIFT:
                continue
            asked = [lesson for lesson in flat if is_open(part, lesson)]
            given = iter(self.scorers[part.name](asked) if asked else ())
            found[part.name] = [next(given) if is_open(part, e) else _NOT_ASKED for e in flat]
        places = iter(range(len(flat)))
        rewarded: list[Group] = []
        for group in groups:
            at = [next(places) for _ in group]
            members = [{name: scores[i] for name, scores in found.items()} for i in at]
            scores = compose_group(self.parts, members, group)
            whole = tuple(
                replace(one, score=with_overlong(score, one.num_tokens, self.overlong))
                for one, score in zip(group, scores, strict=True)
            )
            rewarded.append(_with_withheld_last(whole))
        return rewarded


def _with_withheld_last(group: Group) -> Group:
    """Let a teaching that was withheld earn no more than any other of its group.

    Where no other has a score it has none either: there is nothing to compare it with.
    """
    values = [s.value for s in (one.score for one in group) if s.value is not None]
    if any(not one.teaching.withheld and not one.score.abstained for one in group):
        least = min(values)
        worst = Score(value=least, weighted={"withheld": least})
    else:
        worst = Score(value=None, weighted={})
    return tuple(
        replace(one, score=replace(worst, parts=one.score.parts, reason=one.teaching.withheld))
        if one.teaching.withheld
        else one
        for one in group
    )


def parts_of(
    preset: Literal["uplift", "rim_offline", "hybrid"],
    *,
    available: set[str],
    judge_weight: float = 0.5,
    judge_gated: bool = True,
    own: Part | None = None,
) -> tuple[Part, ...]:
    """Return the parts of a preset's reward.

    Args:
        preset: As the key ``reward`` names it.
        available: The parts that there are scorers for.
        judge_weight: Of the judges beside uplift.
        judge_gated: Judges count beside uplift only where the verifier says right.
        own: The user's part, added to any preset.

    Raises:
        AtlasError: The preset needs judges, and none are set up.

    Example:
        >>> hybrid = parts_of("hybrid", available={"uplift", "rim"}, judge_weight=0.5)
        >>> [(part.name, part.weight, part.gate) for part in hybrid]
        [('uplift', 1.0, 'always'), ('rim', 0.5, 'right')]
    """
    added = () if own is None else (own,)
    if preset == "rim_offline":
        if JUDGES not in available:
            raise AtlasError(
                "reward=rim_offline is made of judges, but none are set up; name them by "
                "teacher_reward, or choose reward=uplift"
            )
        logged = Part(name=UPLIFT, weight=0.0, required=False)
        return Part(name=JUDGES, cap=1.0), logged, *added
    judges = Part(
        name=JUDGES,
        weight=judge_weight,
        cap=1.0,
        gate="right" if judge_gated else "always",
        required=False,
    )
    with_judges = preset == "hybrid" and JUDGES in available
    return Part(name=UPLIFT), *((judges,) if with_judges else ()), *added


def compose_group(
    parts: Sequence[Part], members: Sequence[Scores], lessons: Sequence[Lesson]
) -> list[Score]:
    """Return the reward of every teaching of one group.

    Args:
        parts: Of the reward.
        members: The scores of each teaching, by part.
    """
    stand_ins = {part.name: _mean_of(part, members, lessons) for part in parts}
    return [
        _compose(parts, scores, lesson, stand_ins)
        for scores, lesson in zip(members, lessons, strict=True)
    ]


def is_open(part: Part, lesson: Lesson) -> bool:
    """Tell whether a part counts for a teaching, so that a scorer need not be asked where not."""
    if part.name == UPLIFT:
        return True
    if lesson.leaked or lesson.teaching.withheld:
        return False
    return part.gate == "always" or lesson.attempt.right >= 0.5


def _mean_of(part: Part, members: Sequence[Scores], lessons: Sequence[Lesson]) -> float | None:
    values = [
        _capped(part, value)
        for scores, lesson in zip(members, lessons, strict=True)
        if is_open(part, lesson) and (value := scores[part.name].value) is not None
    ]
    return sum(values) / len(values) if values else None


def _compose(
    reward: Sequence[Part],
    scores: Scores,
    lesson: Lesson,
    stand_ins: Mapping[str, float | None],
) -> Score:
    parts: dict[str, float] = {}
    weighted: dict[str, float] = {}
    reasons: list[str] = []
    total: float | None = 0.0
    for part in reward:
        if not is_open(part, lesson):
            continue
        score = scores[part.name]
        parts |= _logged(part, score)
        if score.reason:
            reasons.append(score.reason if part.name == UPLIFT else f"{part.name}: {score.reason}")
        value = score.value
        if value is None and part.required:
            total = None
        value = stand_ins[part.name] if value is None else _capped(part, value)
        if value is not None and total is not None:
            total += part.weight * value
            weighted |= _weighted(part, score, value)
    return Score(
        value=total,
        parts=parts,
        weighted=weighted if total is not None else {},
        reason="; ".join(reasons),
    )


def _capped(part: Part, value: float) -> float:
    return value if part.cap is None else max(-part.cap, min(part.cap, value))


def _logged(part: Part, score: Score) -> dict[str, float]:
    """Return what is logged of a part: uplift's own parts by their names, others under its name."""
    if part.name == UPLIFT:
        return dict(score.parts)
    inner = {f"{part.name}_{name}": value for name, value in score.parts.items()}
    own = {} if score.value is None else {part.name: score.value}
    return own | inner | {f"{part.name}_abstained": float(score.abstained)}


def _weighted(part: Part, score: Score, value: float) -> dict[str, float]:
    if score.weighted and part.cap is None and score.value is not None:
        return {name: part.weight * share for name, share in score.weighted.items()}
    return {part.name: part.weight * value}
