"""Several runs -> what is not the same in them: settings, data, environment, curves, claims.

Input: runs as `run_files` reads them. Output: `Difference`s by section, a cell a run. The report of
several runs and ``atlas diff`` say the same from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from atlas.errors import AtlasError
from atlas.report.run_files import RunFiles
from atlas.report.settings import job_of, settings_in, shown
from atlas.report.text import arm_name, claim_interval, claim_value, ordered_arms
from atlas.run.goals import tail_mean
from atlas.run.lineage import FILE, read_lineage
from atlas.run.logged import logged_lines

_CURVES: Final = (
    *("train/loss", "train/reward", "train/uplift", "train/accuracy_taught", "train/kl"),
    *("train/grad_norm", "train/dead_groups", "train/teaching_tokens", "train/leak_rate"),
)
_PLACES: Final = frozenset({"output_dir", "results_dir", "run_name"})
"""Where things lie: two runs never share it, and it decides nothing."""
SEEDS: Final = frozenset({"seed"})
"""What runs of one band differ in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One thing that isn't the same in all runs."""

    section: str
    name: str
    cells: tuple[str, ...]
    """One a run; empty where it has nothing of the kind."""


def differences(runs: Sequence[RunFiles]) -> tuple[Difference, ...]:
    """Return what differs between runs, settings first; empty where nothing does."""
    sections: Mapping[str, Callable[[RunFiles], Mapping[str, str]]] = {
        "settings": settings_of,
        "data and models": _data,
        "environment": lambda run: {**run.environment, "command": run.command},
        "curves": _curves,
        "claims": _claims,
    }
    return tuple(
        Difference(section=section, name=name, cells=cells)
        for section, told in sections.items()
        for name, cells in _cells([told(run) for run in runs])
        if len(set(cells)) > 1
    )


def same_but_seed(runs: Sequence[RunFiles]) -> bool:
    """Tell whether runs were given the same but for their seed: curves of one band."""
    given = [
        {name: value for name, value in settings_of(run).items() if name.split()[-1] not in SEEDS}
        for run in runs
    ]
    return len(runs) > 1 and all(one == given[0] for one in given)


def settings_of(run: RunFiles) -> dict[str, str]:
    """Return every setting that decides something, by ``job key``, with the run's place left out.

    A stage is begun with a model of its own run, whose path is the run's.
    """
    found: dict[str, str] = {}
    for name, text in run.configs.items():
        values = settings_in(text)
        for key, value in values.items():
            if key not in _PLACES:
                path = str(values.get("output_dir", "")).removesuffix(f"/{job_of(name, run.kind)}")
                said = shown(value)
                found[f"{job_of(name, run.kind)} {key}"] = said.replace(path, "…") if path else said
    return found


def parted(first: RunFiles, second: RunFiles) -> dict[str, int | None]:
    """Return, by stage that both have, the first logged step whose chains differ; None: none does.

    The chain is a hash over all that a training has done (training/chain.py).
    """
    found: dict[str, int | None] = {}
    for stage in first.curves.keys() & second.curves.keys():
        one, other = _chain(first, stage), _chain(second, stage)
        common = sorted(one.keys() & other.keys())
        if common:
            found[stage] = next((step for step in common if one[step] != other[step]), None)
    return found


def _chain(run: RunFiles, stage: str) -> dict[int, str]:
    own = run.root / stage / "metrics.jsonl"
    lines = logged_lines(own if own.exists() else run.root / "metrics.jsonl")
    return {step: line["chain"] for step, line in lines.items() if "chain" in line}


def _cells(told: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    names = dict.fromkeys(name for one in told for name in one)
    for name in names:
        yield name, tuple(one.get(name, "") for one in told)


def _data(run: RunFiles) -> dict[str, str]:
    found = {name: digest[:12] for name, digest in run.inputs.items()}
    for stage in ("", "sft ", "grpo "):
        folder = run.root / stage.strip()
        if not (folder / FILE).is_file():
            continue
        try:
            lineage = read_lineage(folder)
        except AtlasError as error:
            found[f"{stage}sessions"] = str(error)
            continue
        found[f"{stage}sessions"] = f"{len(lineage.train)} learned from, {len(lineage.eval)} kept"
        found[f"{stage}filters"] = ", ".join(f"{k}={v}" for k, v in lineage.filters.items())
    return found


def _curves(run: RunFiles) -> dict[str, str]:
    """Return the mean of the last steps of each curve that says how a training went."""
    return {
        f"{stage} {name}": f"{tail_mean(curves[name]):.4g} after step {curves[name][-1][0]:.0f}"
        for stage, curves in run.curves.items()
        for name in _CURVES
        if curves.get(name)
    }


def _claims(run: RunFiles) -> dict[str, str]:
    if run.claims is None:
        return {}
    return {
        f"{arm_name(arm)}: {claim.label}": f"{claim_value(claim)} ({claim_interval(claim)})"
        for arm in ordered_arms(run.claims.arms)
        for claim in run.claims.arms[arm]
    }
