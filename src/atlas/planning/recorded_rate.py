"""How long a training will take by what earlier ones took: their metrics are the measurement.

Input: a configuration, and the run directories that lie beside its own. Output: seconds, from the
newest run of the same job on the same models that has logged at least three lines::

    sft    tokens to learn from / its tokens a second
    grpo   teachings to write · its seconds a teaching, steps before and after left out

The median over its lines counts, so that a pause, or a slow first step, doesn't.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from atlas.config.grpo import GRPOConfig
from atlas.config.sft import SFTConfig
from atlas.errors import AtlasError
from atlas.json_file import parse_json
from atlas.run.run_dir import RunDir
from atlas.yaml_file import read_yaml

_SAME = ("model_name_or_path", "student_model", "student", "max_new_tokens", "use_peft")
_SAME += ("student_max_new_tokens", "gradient_checkpointing", "engine", "rollout_engine")
_FEWEST = 3
"""Lines of metrics."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedRate:
    """What a run took."""

    run: Path
    seconds: float
    """Of a trained token (SFT), or of a teaching from its sampling to its update (GRPO)."""


def recorded_rate(config: SFTConfig | GRPOConfig) -> RecordedRate | None:
    """Return the speed of the newest run beside ``output_dir`` that did the same work."""
    wanted = {name: getattr(config, name) for name in _SAME if hasattr(config, name)}
    found: list[tuple[float, RecordedRate]] = []
    for run in _runs_beside(Path(config.output_dir)):
        # Files of a run that is being written, or was made by another version, tell nothing.
        with contextlib.suppress(AtlasError, OSError, KeyError, TypeError, ValueError):
            kept = read_yaml(run.config)
            if run.kind == config.job and {name: kept.get(name) for name in wanted} == wanted:
                when, seconds = _rate(run, kept)
                found.append((when, RecordedRate(run=run.path, seconds=seconds)))
    return max(found, key=lambda one: one[0])[1] if found else None


def recorded_line(config: SFTConfig | GRPOConfig, rate: RecordedRate, num_tokens: float) -> str:
    """Say how long a training takes, with the measurement of its end.

    Args:
        rate: Of an earlier run.
        num_tokens: That SFT learns from.
    """
    if isinstance(config, GRPOConfig):
        each = config.prompts_per_step * config.num_generations
        took = f"{rate.seconds * each:.2g} s a step"
    else:
        took = f"{1 / rate.seconds:,.0f} tokens a second"
    about = timedelta(seconds=about_seconds(config, rate, num_tokens))
    return f"time: about {about}, at {took}, which {rate.run} recorded here on as many devices"


def about_seconds(config: SFTConfig | GRPOConfig, rate: RecordedRate, num_tokens: float) -> int:
    """Return how many seconds a training takes, with the measurement of its end."""
    work = num_tokens
    if isinstance(config, GRPOConfig):
        steps = config.max_steps + config.steps_of_the_end
        work = steps * config.prompts_per_step * config.num_generations
    return max(1, round(work * rate.seconds))


def _runs_beside(output_dir: Path) -> Iterator[RunDir]:
    with contextlib.suppress(OSError):
        for folder in sorted(output_dir.parent.iterdir()):
            if (folder / "run.json").is_file():
                with contextlib.suppress(AtlasError):
                    yield RunDir.open(folder)


def _rate(run: RunDir, kept: Mapping[str, Any]) -> tuple[float, float]:
    """Return when a run logged last, and its seconds a unit of work."""
    lines = [parse_json(line, str(run.metrics)) for line in run.metrics.read_bytes().splitlines()]
    lines = [line for line in lines if line["stage"] == run.kind and line["step"] > 0]
    if run.kind == "sft":
        rates = [1 / line[name] for line in lines if line.get(name := "train/tokens_per_second")]
    else:
        each = kept["prompts_per_step"] * kept["num_generations"]
        rates = [
            (later["time"] - line["time"]) / (later["step"] - line["step"]) / each
            for line, later in pairwise(lines)
        ]
    if len(lines) < _FEWEST:
        raise ValueError("too few lines")
    return lines[-1]["time"], statistics.median(rates)
