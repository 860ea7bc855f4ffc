"""Report, first step: a run directory -> ``RunFiles``, everything that the page shows.

Every file is optional, for a report is wanted most when a run stopped half-way. A file that is
missing leaves its field empty; one that can't be read is named in ``problems`` and the page goes
on without it.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from atlas.config.parts.goals import GoalsConfig
from atlas.errors import AtlasError
from atlas.evaluation.claims import ClaimsTable
from atlas.evaluation.claims_file import read_claims
from atlas.evaluation.pairs_file import read_pairs
from atlas.json_file import json_value, read_json
from atlas.masking import mask_secrets
from atlas.run.goals import Curve, bounds_in
from atlas.run.inputs import FILE as INPUTS
from atlas.run.listing import ListedRun, listed
from atlas.run.run_dir import LAYOUT_VERSION, RunDir, no_run
from atlas.types import Lesson
from atlas.yaml_file import parse_yaml

STAGE_ORDER = (
    *("collect", "tokenizer", "pretrain", "sft", "ranked", "grpo", "evaluate", "save", "report"),
)
_SUB_RUNS = ("sft", "grpo")
_NO_METRICS = frozenset({"step", "time", "stage", "chain"})


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRecord:
    """A finished stage, from ``stages/<name>.json``.

    Example: ``{"stage": "sft", "finished_at": "2025-11-22T00:50:10+00:00", "seconds": 41.0}``.
    """

    name: str
    seconds: float | None
    finished_at: str
    """UTC to the minute, or as the file has it; empty where it has none."""
    summary: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFiles:
    """What a run directory holds, read and checked."""

    root: Path
    kind: str
    """``quickstart``, ``grpo``, ...; ``run`` where the directory doesn't say."""
    started_at: str
    """UTC to the minute; empty where the directory doesn't say."""
    atlas_version: str
    """Of the Atlas that made the run; empty where the directory doesn't say."""
    command: str
    """The command line that began it, without secrets; empty where nothing kept it."""
    environment: Mapping[str, str]
    """Versions, machine, commit; of an older run empty."""
    inputs: Mapping[str, str]
    """Digests of what the run and its stages were begun with, by stage and key."""
    listed: ListedRun | None
    """How far it is and how it goes on; None where its ``run.json`` can't be read."""
    stages: tuple[StageRecord, ...]
    configs: Mapping[str, str]
    """YAML text by file, relative to the root; passwords are masked."""
    curves: Mapping[str, Mapping[str, Curve]]
    """By stage (``sft``, ``grpo``; ``pretrain``, ``ranked``), then by metric name."""
    bounds: Mapping[str, GoalsConfig]
    """Of the goals, by stage."""
    proof: Mapping[str, Any]
    """What the evaluation of a model from scratch found, as its stage keeps it; else empty."""
    claims: ClaimsTable | None
    pairs: tuple[Lesson, ...]
    problems: tuple[str, ...]
    """One line for each file that is there and can't be read."""


def read_run(root: Path) -> RunFiles:
    """Read the run directory ``root``.

    Raises:
        AtlasError: ``root`` isn't a directory, or its layout is of another version.
    """
    if not root.is_dir():
        raise no_run(root)
    problems: list[str] = []
    run = _read_object(root / "run.json", problems)
    version = run.get("layout_version", LAYOUT_VERSION)
    if version != LAYOUT_VERSION:
        raise AtlasError(
            f"run directory {root} has layout version {version}, this Atlas reads "
            f"{LAYOUT_VERSION}; use the Atlas that wrote it, or run again into a new directory"
        )
    kind = str(run.get("kind", "run"))
    curves = {
        stage: _read_curves(root / stage / "metrics.jsonl", problems).get("", {})
        for stage in _SUB_RUNS
        if (root / stage).is_dir()
    }
    if kind in _SUB_RUNS:
        curves.setdefault(kind, _read_curves(root / "metrics.jsonl", problems).get("", {}))
    else:
        curves |= _read_curves(root / "metrics.jsonl", problems, by_stage=True)
    configs = _read_configs(root, problems)
    own = root / "evaluate"  # of a GRPO run that was measured when it was finished
    measured_in = own if kind == "grpo" and own.is_dir() else root
    measured = _read_object(root / "stages" / "evaluate.json", []).get("summary")
    return RunFiles(
        root=root,
        kind=kind,
        started_at=_moment(run.get("created_at")),
        atlas_version=str(run.get("atlas_version", "")),
        command=_command(run.get("command")),
        environment=_flat(found) if isinstance(found := run.get("environment"), dict) else {},
        inputs=_read_inputs(root, problems),
        listed=_listed(root),
        stages=_read_stages(root / "stages", problems),
        configs=configs,
        curves=curves,
        bounds={stage: _bounds(stage, configs) for stage in curves},
        proof=measured if kind == "ranked" and isinstance(measured, dict) else {},
        claims=_read_claims(measured_in / "eval" / "claims.json", problems),
        pairs=_read_pairs(measured_in / "eval" / "pairs.jsonl", problems),
        problems=tuple(problems),
    )


def _read_inputs(root: Path, problems: list[str]) -> dict[str, str]:
    places = {"": root, **{f"{stage}: ": root / stage for stage in (*_SUB_RUNS, "eval")}}
    return {
        f"{title}{key}": str(value)
        for title, folder in places.items()
        for key, value in _read_object(folder / INPUTS, problems).items()
    }


def _command(words: Any) -> str:
    return shlex.join(map(str, words)) if isinstance(words, list) else ""


def _listed(root: Path) -> ListedRun | None:
    try:
        return listed(RunDir.open(root))
    except AtlasError:
        return None


def _read_text(path: Path, problems: list[str]) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path} can't be read: {error}")
        return None


def _read_object(path: Path, problems: list[str]) -> Mapping[str, Any]:
    try:
        return read_json(path) if path.exists() else {}
    except AtlasError as error:
        problems.append(str(error))
        return {}


def _read_stages(folder: Path, problems: list[str]) -> tuple[StageRecord, ...]:
    records = []
    for path in folder.glob("*.json"):
        record = _read_object(path, problems)
        if not record:
            continue
        summary = record.get("summary")
        records.append(
            StageRecord(
                name=str(record.get("stage", path.stem)),
                seconds=_number(record.get("seconds")),
                finished_at=_moment(record.get("finished_at")),
                summary=_flat(summary) if isinstance(summary, dict) else {},
            )
        )
    ranks = {name: rank for rank, name in enumerate(STAGE_ORDER)}
    records.sort(key=lambda record: (ranks.get(record.name, len(ranks)), record.name))
    return tuple(records)


def _flat(summary: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested values as ``{"a.b": "text"}``."""
    flat: dict[str, str] = {}
    for key, value in summary.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= _flat(value, f"{name}.")
        elif isinstance(value, float):
            flat[name] = f"{value:.4g}"
        else:
            flat[name] = str(value)
    return flat


def _read_configs(root: Path, problems: list[str]) -> dict[str, str]:
    names = ["config.yaml", *(f"{stage}/config.yaml" for stage in _SUB_RUNS)]
    texts = {name: _read_text(root / name, problems) for name in names}
    return {name: mask_secrets(text) for name, text in texts.items() if text is not None}


def _bounds(stage: str, configs: Mapping[str, str]) -> GoalsConfig:
    """Return the bounds that a stage is held against; the guide's where its file can't be read."""
    text = configs.get(f"{stage}/config.yaml") or configs.get("config.yaml", "")
    try:
        return bounds_in(stage, parse_yaml(text, "config.yaml"))
    except AtlasError:
        return bounds_in(stage, {})


def _read_curves(
    path: Path, problems: list[str], *, by_stage: bool = False
) -> dict[str, dict[str, Curve]]:
    """Return the curves in a metrics file, of each stage in it; of all together under no name.

    A step that comes twice (a run that stopped and went on) counts as it was the last time. A value
    that isn't finite is left out; a line that can't be read, such as one cut by a crash, is named.
    """
    values: dict[str, dict[str, dict[float, float]]] = {}
    unreadable = 0
    for line in (_read_text(path, problems) or "").split("\n"):
        if not line.strip():
            continue
        record = _metrics_line(line)
        step = _number(record.get("step"))
        if step is None:
            unreadable += 1
            continue
        stage = values.setdefault(str(record.get("stage", "")) if by_stage else "", {})
        for name, raw in record.items():
            value = _number(raw)
            if name not in _NO_METRICS and value is not None:
                stage.setdefault(name, {})[step] = value
    if unreadable:
        problems.append(f"{path}: {unreadable} line(s) can't be read and are left out")
    return {
        stage: {name: tuple(sorted(by_step.items())) for name, by_step in found.items()}
        for stage, found in values.items()
    }


def _metrics_line(line: str) -> Mapping[str, Any]:
    try:
        return json_value(line)
    except ValueError:
        return {}


def _read_claims(path: Path, problems: list[str]) -> ClaimsTable | None:
    if not path.exists():
        return None
    try:
        return read_claims(path)
    except (AtlasError, OSError) as error:
        problems.append(str(error))
        return None


def _read_pairs(path: Path, problems: list[str]) -> tuple[Lesson, ...]:
    if not path.exists():
        return ()
    try:
        return read_pairs(path)
    except (AtlasError, OSError) as error:
        problems.append(str(error))
        return ()


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _moment(value: Any) -> str:
    """Return a time, ISO 8601 or seconds since 1970, as UTC to the minute."""
    seconds = _number(value)
    try:
        moment = datetime.fromtimestamp(seconds, UTC) if seconds else datetime.fromisoformat(value)
    except (TypeError, ValueError, OverflowError):
        return value if isinstance(value, str) else ""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
