"""Evaluation, last step: lessons -> the guide's claims, each with its 95 % interval.

Input: one ``Lesson`` per held-out task and arm (the same student, without and with
teaching). Output: one ``ClaimsTable``, stored by ``claims_file``.

**A leaking teaching earns nothing.** Where the teaching gave the answer away, the taught outcome
counts as wrong, as not completed, and as saving no token (``credited_attempt``), in every claim
here. An arm can't buy accuracy, completion or brevity with leaks, and a leak on a task that was
right alone counts as degradation. The leak rate itself is a claim of its own.

Formulas, over N tasks, ``c`` = right (0 or 1), ``t`` = tokens of the student, ``m`` = of the
teaching, ``f`` = completed (ended by itself and a final answer could be read)::

    uplift              mean(c_taught - c_alone)                      points
    non-degradation     share of tasks with c_taught >= c_alone       Wilson
    tokens saved        1 - Σ t_taught / Σ t_alone                    net: t_taught + m
    completion gain     mean(f_taught) - mean(f_alone)                relative: mean / mean - 1
    efficiency score    uplift · mean(f_taught) / (mean(m) / 1000)    uplift as a fraction

Of a student that is asked several times a task, ``c``, ``t`` and ``f`` are its means, and a task is
not worse with the share of pairs of two attempts, one alone and one taught, of which that is so.
Intervals are over tasks: attempts at one task are no independent evidence.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from atlas.errors import AtlasError
from atlas.evaluation.spread_claims import SPREAD_LABELS, spreads
from atlas.evaluation.stats import (
    FloatArray,
    Interval,
    bootstrap_of_means,
    clustered_wilson,
    paired_bootstrap,
    paired_bootstrap_saving,
    wilson,
)
from atlas.evaluation.verdict_claims import VERDICT_LABELS, verdict_gain, verdict_rates
from atlas.types import Attempt, Lesson, Verdict

Unit = Literal["%", "points", "tokens", "score"]

_MORE_LABELS = {**VERDICT_LABELS, **SPREAD_LABELS}
_ROUNDING = 1e-9
"""``97 / 100 * 100`` may land a hair below 97 in binary; that isn't a claim missed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """What a claim is called, what it is measured in and what the guide says about it."""

    label: str
    unit: Unit
    guide_value: float | None = None
    """The number to reach, in the claim's unit; None where the guide sets none."""
    guide_text: str = "—"
    """The guide's number as a reader should see it."""


DEFINITIONS: Mapping[str, Definition] = {
    "uplift": Definition(
        label="Teaching efficiency: accuracy taught minus alone",
        unit="points",
        guide_value=15.7,
        guide_text="+15.7 points",
    ),
    "non_degradation": Definition(
        label="Non-degradation: tasks not worse with teaching",
        unit="%",
        guide_value=97.0,
        guide_text="97 %",
    ),
    "student_tokens_saved": Definition(
        label="Student tokens saved", unit="%", guide_value=50.0, guide_text="50 %"
    ),
    "completion_taught": Definition(
        label="Completion, taught: answers that end by themselves and parse",
        unit="%",
        guide_value=100.0,
        guide_text="100 %",
    ),
    "completion_gain": Definition(
        label="Completion gained, in points",
        unit="points",
        guide_value=31.0,
        guide_text="+31 points (69 → 100)",
    ),
    "completion_gain_relative": Definition(
        label="Completion gained, relative to alone",
        unit="%",
        guide_value=100 * 31 / 69,
        guide_text="+45 % (69 → 100)",
    ),
    "accuracy_alone": Definition(label="Accuracy, student alone", unit="%"),
    "accuracy_taught": Definition(label="Accuracy, taught (a leak counts as wrong)", unit="%"),
    "degraded_when_right": Definition(label="Degraded, of the tasks right alone", unit="%"),
    "net_tokens_saved": Definition(label="Tokens saved, net of the teaching", unit="%"),
    "completion_alone": Definition(label="Completion, student alone", unit="%", guide_text="69 %"),
    "leak_rate": Definition(label="Teachings that gave the answer away", unit="%"),
    "teaching_tokens": Definition(label="Tokens of a teaching", unit="tokens"),
    "efficiency_score": Definition(
        label="Uplift × completion per 1,000 teaching tokens", unit="score"
    ),
}
"""Every claim by name, in the order of the table: the guide's numbers first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One measured number of one arm beside the guide's.

    Example: 24 of 400 tasks gained, none lost:
        >>> Claim(name="uplift", label="Teaching efficiency", unit="points", num=400,
        ...       interval=Interval(value=6.0, low=3.8, high=8.5), guide_value=15.7,
        ...       guide_text="+15.7 points").met
        False
    """

    name: str
    label: str
    interval: Interval | None
    """In ``unit``; None where it can't be measured (a share of no tasks, a ratio to zero)."""
    unit: Unit
    guide_value: float | None
    guide_text: str
    num: int
    """What it was measured on: tasks, or the tasks right alone for ``degraded_when_right``."""

    @property
    def value(self) -> float | None:
        """The measured number, in ``unit``."""
        return None if self.interval is None else self.interval.value

    @property
    def met(self) -> bool | None:
        """Whether the value reaches the guide's; None where there is nothing to compare."""
        if self.value is None or self.guide_value is None:
            return None
        return self.value >= self.guide_value - _ROUNDING


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How much more one arm lifts the student than another, on the same tasks."""

    arm: str
    baseline_arm: str
    interval: Interval
    """Uplift of ``arm`` minus uplift of ``baseline_arm``, points."""
    num: int
    """Tasks."""
    verdicts: Interval | None = None
    """Share of first verdicts that are true minus the other's, points; None where neither arm
    reviews."""

    @property
    def is_above_zero(self) -> bool:
        """True where the whole interval is: ``arm`` teaches better, beyond chance."""
        return self.interval.low > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimsTable:
    """All claims of an evaluation: per arm, and between arms."""

    num_tasks: int
    arms: Mapping[str, tuple[Claim, ...]]
    comparisons: tuple[Comparison, ...]
    read_by: Mapping[str, Mapping[str, float]]
    """By which rules of ``answer_format`` the completed answers were read: for ``alone`` and for
    each arm the share of every rule in percent, the most frequent first; none where the verifier
    reads no answers of its own."""


def claims_table(pairs: Iterable[Lesson]) -> ClaimsTable:
    """Measure every arm on its pairs, and each arm against the ones before it.

    Args:
        pairs: Of one or several arms, all on the same tasks; arms are compared in the order in
            which they first appear.

    Raises:
        AtlasError: There is no pair, an arm has a task twice, or the arms' tasks differ.
    """
    pairs = list(pairs)
    # What a verifier could not tell about is no evidence either way, for no arm.
    untold = {p.task.id for p in pairs if p.alone.unverified or p.attempt.unverified}
    by_arm: dict[str, list[Lesson]] = {}
    for pair in (pair for pair in pairs if pair.task.id not in untold):
        by_arm.setdefault(pair.arm, []).append(pair)
    if not by_arm:
        raise AtlasError("no paired outcomes: the evaluation has nothing to measure")
    names = list(by_arm)
    comparisons = tuple(
        compare_arms(by_arm[later], by_arm[earlier])
        for position, later in enumerate(names)
        for earlier in names[:position]
    )
    arms = {name: measure_claims(rows) for name, rows in by_arm.items()}
    answers = {"alone": [pair.alone for pair in by_arm[names[0]]]}
    answers |= {name: [credited_attempt(pair) for pair in rows] for name, rows in by_arm.items()}
    return ClaimsTable(
        num_tasks=len(by_arm[names[0]]),
        arms=arms,
        comparisons=comparisons,
        read_by={name: _rules(attempts) for name, attempts in answers.items()},
    )


def _rules(attempts: Sequence[Attempt]) -> dict[str, float]:
    done = [one for attempt in attempts for one in (attempt, *attempt.again) if _is_done(one)]
    counts = Counter(one.verdict.rule for one in done if one.verdict.rule)
    return {rule: 100 * count / len(done) for rule, count in counts.most_common()}


def measure_claims(pairs: Sequence[Lesson]) -> tuple[Claim, ...]:
    """Return every claim of ``DEFINITIONS`` for the pairs of one arm, in that order.

    Behind them come those on the verdicts of a verifying teacher, where it gave some, and on how
    alike attempts are, where each task was attempted several times.

    A leaking teaching earns nothing, see ``credited_attempt``.

    Args:
        pairs: One per task, at least one.

    Returns:
        The claims, percentages and points on a scale of 100.

    Raises:
        AtlasError: There is no pair, or a task comes twice.
    """
    columns = _columns(list(_by_task(pairs).values()))
    num_right = int((columns["right_alone"] > 0).sum())
    samples = max(1 + len(one.again) for pair in pairs for one in (pair.alone, pair.attempt))
    measured = _rates(columns, samples) | _gains(columns)
    rows = [
        Claim(
            name=name,
            label=definition.label,
            interval=measured[name],
            unit=definition.unit,
            guide_value=definition.guide_value,
            guide_text=definition.guide_text,
            num=num_right if name == "degraded_when_right" else len(pairs),
        )
        for name, definition in DEFINITIONS.items()
    ]
    more = verdict_rates(pairs) | spreads(pairs)
    rows += [
        Claim(
            name=name,
            label=_MORE_LABELS[name],
            interval=interval,
            unit="points" if name in SPREAD_LABELS else "%",
            guide_value=None,
            guide_text="—",
            num=num,
        )
        for name, (interval, num) in more.items()
    ]
    return tuple(rows)


def compare_arms(pairs: Sequence[Lesson], baseline_pairs: Sequence[Lesson]) -> Comparison:
    """Return the uplift of one arm minus that of another, paired by task.

    Args:
        pairs: Of the arm in question.
        baseline_pairs: Of the arm it is held against, on the same tasks in any order.

    Returns:
        The mean difference in points; positive where ``pairs`` teach better. The same of their
        verdicts where both give some.

    Raises:
        AtlasError: Either is empty, has a task twice, or the tasks differ.
    """
    ours, theirs = _by_task(pairs), _by_task(baseline_pairs)
    arm, baseline_arm = pairs[0].arm, baseline_pairs[0].arm
    different = sorted(ours.keys() ^ theirs.keys())
    if different:
        raise AtlasError(
            f"arms {arm!r} and {baseline_arm!r} were evaluated on different tasks: "
            f"{len(different)} belong to only one of them, such as {different[0]}; "
            "evaluate both on the same held-out tasks"
        )
    differences = [_uplift(ours[task]) - _uplift(theirs[task]) for task in ours]
    return Comparison(
        arm=arm,
        baseline_arm=baseline_arm,
        interval=paired_bootstrap(differences).scaled(100),
        num=len(differences),
        verdicts=verdict_gain([(ours[task], theirs[task]) for task in ours]),
    )


def credited_attempt(lesson: Lesson) -> Attempt:
    """Return the taught attempt as the claims count it: a leaking teaching earns nothing.

    With a leak the attempt is wrong, not completed, and as long as the longer of the two, so that
    neither accuracy nor completion nor saved tokens can come from it.
    """
    if not lesson.leaked:
        return lesson.attempt
    return replace(
        lesson.attempt,
        num_tokens=math.ceil(max(lesson.alone.tokens, lesson.attempt.tokens)),
        finished=False,
        again=(),
        verdict=Verdict(score=0.0, parsed=False, reason="the teaching leaks"),
    )


def _by_task(pairs: Sequence[Lesson]) -> dict[str, Lesson]:
    """Return the pairs by task id, sorted: the order of a file must not move an interval."""
    if not pairs:
        raise AtlasError("no paired outcomes: the evaluation has nothing to measure")
    counts = Counter(pair.task.id for pair in pairs)
    task, count = counts.most_common(1)[0]
    if count > 1:
        raise AtlasError(f"task {task} is there {count} times in arm {pairs[0].arm!r}")
    return {pair.task.id: pair for pair in sorted(pairs, key=lambda pair: pair.task.id)}


def _uplift(pair: Lesson) -> float:
    return credited_attempt(pair).right - pair.alone.right


def _columns(pairs: Sequence[Lesson]) -> dict[str, FloatArray]:
    taught = [credited_attempt(pair) for pair in pairs]
    alone = [pair.alone for pair in pairs]
    numbers = {
        "right_alone": [one.right for one in alone],
        "right_taught": [one.right for one in taught],
        "done_alone": [one.share(_is_done) for one in alone],
        "done_taught": [one.share(_is_done) for one in taught],
        "tokens_alone": [one.tokens for one in alone],
        "tokens_taught": [
            one.tokens if pair.leaked else pair.student_tokens
            for one, pair in zip(taught, pairs, strict=True)
        ],
        "tokens_teaching": [pair.teaching.num_tokens for pair in pairs],
        "leaked": [pair.leaked for pair in pairs],
    }
    return {name: np.asarray(column, dtype=np.float64) for name, column in numbers.items()}


def _is_done(attempt: Attempt) -> bool:
    return attempt.finished and attempt.parsed


def _rates(columns: Mapping[str, FloatArray], samples: int) -> dict[str, Interval | None]:
    """Return the claims that count successes among trials: Wilson intervals, in percent."""
    right_alone = columns["right_alone"]
    # Over all pairs of an attempt alone and one with the teaching.
    degraded = right_alone * (1 - columns["right_taught"])

    def rate(shares: FloatArray) -> Interval:
        return clustered_wilson(shares, samples).scaled(100)

    def of_right() -> Interval | None:
        if not right_alone.any():
            return None
        if samples == 1:
            return wilson(int(degraded.sum()), int(right_alone.sum()))
        return bootstrap_of_means([degraded, right_alone], lambda means: means[0] / means[1])

    of_those = of_right()
    return {
        "accuracy_alone": rate(right_alone),
        "accuracy_taught": rate(columns["right_taught"]),
        "non_degradation": rate(1 - degraded),
        "degraded_when_right": (
            of_those.scaled(100) if of_those is not None and of_those.is_finite else None
        ),
        "completion_alone": rate(columns["done_alone"]),
        "completion_taught": rate(columns["done_taught"]),
        "leak_rate": rate(columns["leaked"]),
    }


def _gains(columns: Mapping[str, FloatArray]) -> dict[str, Interval | None]:
    """Return the claims that compare two numbers of a pair: bootstrap intervals."""
    right_gain = columns["right_taught"] - columns["right_alone"]
    done_alone, done_taught = columns["done_alone"], columns["done_taught"]
    tokens_alone, teaching = columns["tokens_alone"], columns["tokens_teaching"]
    relative = bootstrap_of_means(
        [done_alone, done_taught], lambda means: means[1] / means[0] - 1
    ).scaled(100)
    score = bootstrap_of_means(
        [right_gain, done_taught, teaching],
        lambda means: 1000 * means[0] * means[1] / means[2],
    )

    def saved(tokens: FloatArray) -> Interval | None:
        if not (tokens_alone.all() and columns["tokens_taught"].all()):
            return None  # an agent, or an endpoint, that doesn't say
        return paired_bootstrap_saving(tokens_alone, tokens).scaled(100)

    return {
        "uplift": paired_bootstrap(right_gain).scaled(100),
        "student_tokens_saved": saved(columns["tokens_taught"]),
        "net_tokens_saved": saved(columns["tokens_taught"] + teaching),
        "completion_gain": paired_bootstrap(done_taught - done_alone).scaled(100),
        "completion_gain_relative": relative if relative.is_finite else None,
        "teaching_tokens": paired_bootstrap(teaching),
        "efficiency_score": score if score.is_finite else None,
    }
