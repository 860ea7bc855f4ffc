"""Whole trainings, one after the other: ``torchrun … jobs.py JOBS``, a list of command lines."""

from __future__ import annotations

import json
import sys
import warnings

from atlas.cli.train.train import train
from atlas.parallel.distributed import joined

warnings.simplefilter("ignore", SyntaxWarning)
with joined(timeout=120):
    for source, *overrides in json.loads(sys.argv[1]):
        train(source, overrides, override_config=True)
