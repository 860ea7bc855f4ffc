"""Report: run directories -> one HTML page that opens offline.

Input: files only, read by ``run_files``. Output: ``report.html``: no font, no image and no address
outside itself. Its one script is ours and known by its hash, so that the Content-Security-Policy in
the page lets nothing else run. Whatever a model wrote is escaped by the template engine, or put in
as text by the script; the curves and the rollouts travel packed (`atlas.report.rollouts`).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from atlas.errors import AtlasError
from atlas.evaluation.claims import Claim, ClaimsTable
from atlas.evaluation.stats import Interval, clustered_wilson
from atlas.report.conclusion import conclusion
from atlas.report.curves import panels
from atlas.report.differences import differences, same_but_seed
from atlas.report.interval_chart import Mark, arm_shape, interval_chart
from atlas.report.proof import proof_conclusion, proof_header, proof_rows
from atlas.report.rollouts import Chunk, packed, pair_chunks, training_chunks
from atlas.report.run_files import RunFiles, StageRecord, read_run
from atlas.report.settings import changed_settings
from atlas.report.text import (
    arm_name,
    claim_interval,
    claim_status,
    claim_value,
    comparison_value,
    interval_text,
    number_text,
    ordered_arms,
    reading_text,
    rows_by_claim,
)
from atlas.report.transcripts import choose_transcripts
from atlas.run.diagnosis import diagnose
from atlas.run.files import through_links, write_atomic
from atlas.run.goals import goals_of
from atlas.types import Lesson
from atlas.yaml_file import parse_yaml

HEADLINE_CLAIMS = ("uplift", "non_degradation", "student_tokens_saved", "completion_taught")
"""The guide's four results, in its order; each is a tile at the top of the page."""

SHOWN_ARMS = ("sft", "grpo")
"""In the transcripts of a page without JavaScript, beside the student alone."""

_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("uPlot.iife.min.js", "charts.js", "rollouts.js", "page.js")
_STYLES = ("uPlot.min.css", "style.css")
_FIGURES = frozenset(
    {
        *("sessions", "succeeded", "mean_reward", "num_sessions", "steps", "skipped_steps", "loss"),
        *("tasks", "rollouts", "uplift", "examples", "train/loss", "eval/loss", "train/reward"),
        *("train/uplift", "train/accuracy_taught", "train/accuracy_alone", "train/accuracy"),
        *("train/non_degrade_rate", "train/kl", "train/leak_rate", "verified_gain"),
    }
)
"""What a person wants of a stage's last figures; all of them lie in ``stages/``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimRow:
    """One claim over all arms, drawn."""

    label: str
    name: str
    guide_text: str
    num: int
    claims: tuple[Claim, ...]
    svg: Markup | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyRow:
    """Right answers in one family of tasks: alone, then by arm."""

    family: str
    num: int
    rates: tuple[str, ...]
    svg: Markup


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRow:
    """One stage with its share of the whole duration, in percent."""

    record: StageRecord
    duration: str
    share: float


def write_report(*run_dirs: Path, output: Path | None = None) -> Path:
    """Write the report of a run, or of several side by side.

    Args:
        run_dirs: Run directories, finished or not; what is missing gets a section that says so.
        output: Where to write; None for ``report.html`` in the first run directory, or of several
            for ``comparison.html`` where we are.

    Raises:
        AtlasError: One isn't there or has another layout version, or the disk is full.
    """
    runs = [read_run(folder) for folder in run_dirs]
    page = render_report(runs[0]) if len(runs) == 1 else render_comparison(runs)
    usual = run_dirs[0] / "report.html" if len(runs) == 1 else Path("comparison.html")
    target = usual if output is None else through_links(output)
    write_atomic(target, page)
    return target


def render_report(run: RunFiles, *, live: bool = False) -> str:
    """Return the page for what was read of a run; of a live one the server sends the rollouts."""
    problems = list(run.problems)
    chunks = [] if live else packed(run_chunks(run, problems))
    context = _context(replace(run, problems=tuple(problems)))
    drawn = panels([run.curves], run.bounds)
    return _render(
        "report", context, drawn, names=[run.root.name or run.kind], chunks=chunks, live=live
    )


def render_comparison(runs: Sequence[RunFiles]) -> str:
    """Return the page that shows several runs side by side."""
    names, problems, banded = _short_names(runs), [], same_but_seed(runs)
    chunks = [text for i, run in enumerate(runs) for text in packed(run_chunks(run, problems, i))]
    found = differences(runs)
    context = {
        "runs": runs,
        "verdicts": [conclusion(run.claims) for run in runs],
        "differing": {
            section: [one for one in found if one.section == section]
            for section in dict.fromkeys(one.section for one in found)
        },
        "shown_arms": (),
        "selection": choose_transcripts((), ()),
    }
    bounds = {stage: bound for run in reversed(runs) for stage, bound in run.bounds.items()}
    drawn = panels([run.curves for run in runs], bounds, names, banded=banded)
    return _render("compare", context, drawn, names=names, chunks=chunks, banded=banded)


def run_chunks(run: RunFiles, problems: list[str], place: int = 0) -> Iterator[Chunk]:
    """Yield all rollouts of a run; ``problems`` takes a line for each table that is broken."""
    yield from pair_chunks(run.pairs, run=place)
    for folder in rollout_folders(run.root):
        yield from training_chunks(folder, problems, run=place)


def rollout_folders(root: Path) -> list[Path]:
    """Return where a run, or its stage, keeps its rollouts."""
    return [f for f in (root / "rollouts", root / "grpo" / "rollouts") if f.is_dir()]


def _short_names(runs: Sequence[RunFiles]) -> list[str]:
    names = [run.root.name or run.kind for run in runs]
    return names if len(set(names)) == len(names) else [str(run.root) for run in runs]


def _render(
    template: str,
    context: Mapping[str, Any],
    drawn: Sequence[Mapping[str, Any]],
    *,
    names: Sequence[str],
    chunks: Sequence[str],
    live: bool = False,
    banded: bool = False,
) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        arm_name=arm_name,
        claim_value=claim_value,
        claim_interval=claim_interval,
        claim_status=claim_status,
        typeset=typeset,
    )
    environment.globals["arm_shape"] = arm_shape
    script, styles = (
        "\n".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in files)
        for files in (_SCRIPTS, _STYLES)
    )
    page = environment.get_template(f"{template}.html.jinja").render(
        **context,
        names=names,
        live=live,
        banded=banded,
        panels=drawn,
        styles=Markup(styles),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        packed_panels=packed([drawn])[0],
        packed_rollouts=chunks,
    )
    return page


def typeset(text: str) -> str:
    """Return text with real minus signs before digits and with units that stay on their line."""
    for digit in "0123456789":
        text = text.replace(f"-{digit}", f"\N{MINUS SIGN}{digit}")
    for unit in ("%", "points", "tokens"):
        text = text.replace(f" {unit}", f"\N{NO-BREAK SPACE}{unit}")
    return text.replace(
        " \N{RIGHTWARDS ARROW} ", "\N{NO-BREAK SPACE}\N{RIGHTWARDS ARROW}\N{NO-BREAK SPACE}"
    )


def _context(run: RunFiles) -> dict[str, Any]:
    evaluated = ordered_arms({pair.arm for pair in run.pairs})
    shown = [arm for arm in SHOWN_ARMS if arm in evaluated] or evaluated
    return {
        "run": run,
        "verdict": conclusion(run.claims),
        **_proof_context(run),
        "goals": {s: goals_of(s, curves, run.bounds[s]) for s, curves in run.curves.items()},
        "findings": {s: diagnose(s, curves, run.bounds[s]) for s, curves in run.curves.items()},
        "family_arms": evaluated,
        "families": _family_rows(run.pairs),
        "settings": {
            name: changed_settings(name, text, run.kind) for name, text in run.configs.items()
        },
        "shown_arms": shown,
        "selection": choose_transcripts(run.pairs, shown),
        "stage_rows": _stage_rows(run.stages),
        "total_duration": duration_text(sum(stage.seconds or 0 for stage in run.stages)),
        "seeds": _seeds(run.configs),
        **_claims_context(run.claims),
    }


def _proof_context(run: RunFiles) -> dict[str, Any]:
    """Return what the page says of a model from scratch."""
    if not run.proof:
        return {"proof": None}
    pretrained = any(stage.name == "pretrain" for stage in run.stages)
    header = proof_header(run.proof, pretrained=pretrained)
    return {
        "verdict": proof_conclusion(run.proof, pretrained=pretrained),
        "proof": (header, proof_rows(run.proof)),
    }


def _claims_context(table: ClaimsTable | None) -> dict[str, Any]:
    if table is None:
        return {"tiles": (), "claim_groups": (), "comparisons": ()}
    arms = ordered_arms(table.arms)
    claims = {claim.name: claim for claim in table.arms[arms[-1]]}
    return {
        "arms": arms,
        "tiles": [claims[name] for name in HEADLINE_CLAIMS],
        "claim_groups": _claim_groups(table),
        "met_counts": _met_counts(table),
        "comparisons": _comparisons(table),
        "read_by": reading_text(table.read_by),
        "gain_out_of_reach": _gain_out_of_reach(claims),
    }


def _claim_rows(table: ClaimsTable) -> list[ClaimRow]:
    arms = ordered_arms(table.arms)
    return [
        ClaimRow(
            label=claims[0].label,
            name=claims[0].name,
            guide_text=claims[0].guide_text,
            num=claims[-1].num,
            claims=claims,
            svg=_claim_svg(arms, claims),
        )
        for claims in rows_by_claim(table)
    ]


def _claim_groups(table: ClaimsTable) -> list[tuple[str, list[ClaimRow]]]:
    rows = _claim_rows(table)
    judged = [row for row in rows if row.claims[0].guide_value is not None]
    others = [row for row in rows if row.claims[0].guide_value is None]
    return [("The guide's numbers", judged), ("Beside them", others)]


def _claim_svg(arms: Sequence[str], claims: Sequence[Claim]) -> Markup | None:
    marks = [
        Mark(arm=arm, label=arm_name(arm), interval=claim.interval)
        for arm, claim in zip(arms, claims, strict=True)
        if claim.interval is not None
    ]
    if not marks:
        return None
    claim = claims[0]
    return interval_chart(
        marks,
        name=claim.label,
        number=partial(number_text, unit=claim.unit),
        guide=claim.guide_value,
        include=(0,) if claim.unit in {"points", "score"} else (),
    )


def _gain_out_of_reach(claims: Mapping[str, Claim]) -> bool:
    """Return whether the student alone completes too much to gain the guide's points at all."""
    alone, gain = claims["completion_alone"].value, claims["completion_gain"].guide_value
    return alone is not None and gain is not None and alone + gain > 100


def _met_counts(table: ClaimsTable) -> list[tuple[str, int, int]]:
    """Return (arm, numbers of the guide reached, numbers of the guide compared)."""
    counts = []
    for arm in ordered_arms(table.arms):
        judged = [claim.met for claim in table.arms[arm] if claim.met is not None]
        counts.append((arm, sum(judged), len(judged)))
    return counts


def _comparisons(table: ClaimsTable) -> list[dict[str, Any]]:
    return [
        {
            "arm": row.arm,
            "baseline_arm": row.baseline_arm,
            "value": comparison_value(row),
            "interval": interval_text(row.interval, signed=True),
            "num": row.num,
            "finding": "better" if row.is_above_zero else _not_above(row.interval),
            "svg": interval_chart(
                [Mark(arm=row.arm, label="difference", interval=row.interval)],
                name=f"Uplift of the {arm_name(row.arm)} minus the {arm_name(row.baseline_arm)}",
                number=partial(number_text, unit="points", signed=True),
                include=(0,),
            ),
        }
        for row in table.comparisons
    ]


def _not_above(interval: Interval) -> str:
    return "worse" if interval.high < 0 else "no clear difference"


def _family_rows(pairs: Sequence[Lesson]) -> list[FamilyRow]:
    arms = ordered_arms({pair.arm for pair in pairs})
    return [
        _family_row(family, [pair for pair in pairs if pair.task.family == family], arms)
        for family in sorted({pair.task.family for pair in pairs})
    ]


def _family_row(family: str, pairs: Sequence[Lesson], arms: Sequence[str]) -> FamilyRow:
    by_arm = {arm: [pair for pair in pairs if pair.arm == arm] for arm in arms}
    flags = {
        "alone": [pair.alone.right for pair in next(rows for rows in by_arm.values() if rows)]
    } | {
        arm: [0.0 if pair.leaked else pair.attempt.right for pair in rows]
        for arm, rows in by_arm.items()
    }
    samples = max(1 + len(one.again) for pair in pairs for one in (pair.alone, pair.attempt))
    intervals = {
        name: clustered_wilson(right, samples).scaled(100) for name, right in flags.items() if right
    }
    return FamilyRow(
        family=family,
        num=len(flags["alone"]),
        rates=tuple(
            number_text(intervals[name].value, "%") if name in intervals else "" for name in flags
        ),
        svg=interval_chart(
            [
                Mark(arm=name, label="Alone" if name == "alone" else arm_name(name), interval=rate)
                for name, rate in intervals.items()
            ],
            name=f"Right answers, {family}",
            number=partial(number_text, unit="%"),
            include=(0, 100),
        ),
    )


def _stage_rows(stages: Sequence[StageRecord]) -> list[StageRow]:
    longest = max((stage.seconds or 0 for stage in stages), default=0)
    return [
        StageRow(
            record=replace(
                stage,
                summary={
                    name.removeprefix("train/").replace("_", " "): value
                    for name, value in stage.summary.items()
                    if name in _FIGURES or name.startswith("arms.")
                },
            ),
            duration="" if stage.seconds is None else duration_text(stage.seconds),
            share=100 * (stage.seconds or 0) / longest if longest else 0,
        )
        for stage in stages
    ]


def duration_text(seconds: float) -> str:
    """Return a duration as ``41 s``, ``2 min 52 s`` or ``3 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _seeds(configs: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the files by the seed that they set (``seed = 7``); none where YAML is broken."""
    found: dict[str, list[str]] = {}
    for name, text in configs.items():
        try:
            config = parse_yaml(text, name)
        except AtlasError:
            continue
        for key, value in config.items():
            if key == "seed" or key.endswith("_seed"):
                found.setdefault(f"{key} = {value}", []).append(name)
    return found
