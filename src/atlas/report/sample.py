"""One sample of GRPO, whole: what was said, what it earned, and what the update made of it.

Input: a run directory, a step and the place of the sample in it. Output: a `Sample`; `sample_lines`
puts it into words for a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from atlas.errors import AtlasError
from atlas.run.lineage import FILE, read_lineage
from atlas.run.rollouts import TOKENS, rollouts_run, step_rows
from atlas.run.run_dir import RunDir

_PLACE: Final = ("step", "group", "member", "task_id", "family", "policy_version")
_SCORE: Final = ("reward", "advantage", "reason")
_TEXTS: Final = (
    *("question", "answer", "baseline", "approach", "thoughts", "teaching"),
    *("attempt_thoughts", "attempt", "completion"),
)
_TITLES: Final[Mapping[str, str]] = {
    "answer": "reference answer",
    "baseline": "student alone",
    "thoughts": "the teacher's thoughts",
    "attempt_thoughts": "the student's thoughts",
    "attempt": "student taught",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """One token of a row that was learned from."""

    id: int
    text: str
    """Empty where the run keeps no tokenizer."""
    learned: bool
    """It is in the loss; all others are only read."""
    logprob: float
    """That it was sampled with; 0 where it wasn't."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One row of a table of rollouts."""

    columns: Mapping[str, Any]
    """All but the tokens."""
    rows: tuple[tuple[Token, ...], ...]
    """What the update learned from: one row, or several where turns can't share one."""
    source: str
    """Where its session lies; empty where the run doesn't say."""


def read_sample(path: Path | str, step: int, place: int) -> Sample:
    """Read a sample.

    Args:
        path: A run directory of GRPO, or of a quickstart.
        step: From 1.
        place: Among the samples of the step, from 0, group after group.

    Raises:
        AtlasError: There is no such sample.
    """
    run = rollouts_run(path)
    count = len(step_rows(run.rollouts, step, ["step", "reward"]))
    if not 0 <= place < count:
        raise AtlasError(f"step {step} of {run.path} has samples 0 to {count - 1}, and no {place}")
    row = step_rows(run.rollouts, step)[place]
    learned = step_rows(run.rollouts, step, [TOKENS])
    lineage = read_lineage(run.path) if (run.path / FILE).is_file() else None
    return Sample(
        columns=row,
        rows=_tokens(run, learned[place][TOKENS] if learned and learned[place] else []),
        source=lineage.source if lineage else "",
    )


def sample_lines(sample: Sample, *, wide: bool = False) -> Iterator[str]:
    """Yield a sample in words.

    Args:
        wide: Every token on a line of its own.
    """
    columns = sample.columns
    yield ", ".join(f"{name} {columns[name]}" for name in _PLACE if columns.get(name) is not None)
    if columns.get("session"):
        yield f"session {columns['session']}" + (f" of {sample.source}" if sample.source else "")
    for name in _TEXTS:
        if columns.get(name):
            yield ""
            yield f"{_TITLES.get(name, name)}:"
            yield from (f"  {line}" for line in str(columns[name]).splitlines())
    yield ""
    yield from _score_lines(columns)
    shown = {*_PLACE, *_SCORE, *_TEXTS, "session"}
    rest = {n: v for n, v in columns.items() if n not in shown and v not in (None, "")}
    others = {n: v for n, v in rest.items() if not n.startswith(("part_", "reward_"))}
    if others:
        yield "besides: " + ", ".join(f"{name} {_short(value)}" for name, value in others.items())
    yield ""
    yield from _token_lines(sample.rows, wide=wide)


def _score_lines(columns: Mapping[str, Any]) -> Iterator[str]:
    reward, advantage = columns.get("reward"), columns.get("advantage")
    parts = {n.removeprefix("part_"): v for n, v in columns.items() if n.startswith("part_")}
    yield f"reward {_short(reward)}" if reward is not None else "no reward: its scorer abstained"
    if columns.get("reason"):
        yield f"  reason: {columns['reason']}"
    for name, value in parts.items():
        added = columns.get(f"reward_{name}")
        if value is not None:
            adds = f", adds {added:+.4f}" if added is not None else ""
            yield f"  {name} {value:.4f}{adds}"
    if advantage is None:
        yield (
            "no advantage: it is in no loss (its group is dead, it abstained, or it was cut and "
            "mask_truncated_completions leaves it out)"
        )
    else:
        yield f"advantage {advantage:+.4f}"


def _token_lines(rows: Sequence[Sequence[Token]], *, wide: bool) -> Iterator[str]:
    if not rows:
        yield "tokens: the table keeps none (it is of an older Atlas)"
    for place, row in enumerate(rows, start=1):
        learned = [token for token in row if token.learned]
        total = sum(token.logprob for token in learned)
        of = f" {place} of {len(rows)}" if len(rows) > 1 else ""
        yield (
            f"tokens{of}: {len(row)}, of which {len(learned)} are learned; log-probability "
            f"{total:.4f}, {total / max(1, len(learned)):.4f} a token"
        )
        if wide:
            yield "  place     id  learned  log-probability  token"
            for at, one in enumerate(row):
                said = f"{one.logprob:15.4f}" if one.learned else " " * 15
                yield f"  {at:5}  {one.id:5}  {'yes' if one.learned else '':7}  {said}  " + repr(
                    one.text
                )
            continue
        yield f"  read:    {''.join(t.text for t in row if not t.learned)!r}"
        for start in range(0, len(learned), 8):
            part = learned[start : start + 8]
            yield "  learned: " + "  ".join(f"{t.text or t.id!s} {t.logprob:.3f}" for t in part)


def _tokens(run: RunDir, learned: Sequence[Mapping[str, Any]]) -> tuple[tuple[Token, ...], ...]:
    if not learned:
        return ()
    texts = _texts(run, {identity for row in learned for identity in row["ids"]})
    return tuple(
        tuple(
            Token(
                id=identity,
                text=texts.get(identity, ""),
                learned=any(start <= at < end for start, end in row["trained"]),
                logprob=row["logprobs"][at] if row["logprobs"] else 0.0,
            )
            for at, identity in enumerate(row["ids"])
        )
        for row in learned
    )


def _texts(run: RunDir, ids: set[int]) -> dict[int, str]:
    """Return the text of each token by itself; none where no tokenizer lies in the run."""
    places = (run.final, *sorted(run.checkpoints.glob("step_*"), reverse=True))
    file = next((p / "tokenizer.json" for p in places if (p / "tokenizer.json").is_file()), None)
    if file is None:
        return {}
    tokenizer = Tokenizer.from_file(str(file))
    return {one: tokenizer.decode([one], skip_special_tokens=False) for one in ids}


def _short(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
