"""Configuration of every job: where it writes, and what makes it repeatable."""

from __future__ import annotations

from dataclasses import dataclass

from atlas.config.grammar.schema import Part, key, required


@dataclass(frozen=True, kw_only=True)
class RunConfig(Part):
    """What every job has."""

    output_dir: str = required("Run directory: everything that the job writes goes there.")
    seed: int = key(
        0, "Every random number derives from it; two runs with one seed agree.", ge=0, lt=2**32
    )
    logging_steps: int = key(1, "Optimiser steps between two lines of metrics and log.", ge=1)
    num_threads: int = key(0, "Threads of the maths library; 0 leaves the choice to PyTorch.", ge=0)
