"""Plain GRPO on verified answers with a real chat model, beside TRL's `GRPOTrainer`.

Run: ``.venv/bin/python benchmarks/solve_beside_trl.py [--steps 40] [--seed 0] [--threads 2]
[--only atlas]``. SmolLM2-135M-Instruct answers the word problems of ``atlas quickstart real``
itself (``environment=solve``). Both sides get the same tasks, prompts, verifier, group size,
temperature, adapter, step size and loss; each runs in a process of its own, TRL first. Prints the
share of right answers over the first and the last ten steps, that of the held-out tasks before and
after (greedy, by our engine), and the median seconds of a step.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rich.console import Console
from rich.table import Table
from sides.solving import GROUP, PROMPTS

ENDS = 10
"""Steps at the beginning and at the end that are averaged."""


def main() -> None:
    """Train both sides and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=("trl", "atlas"))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        side, folder = args.child
        # Imported here, so that each side is alone in its process.
        run = importlib.import_module(f"sides.solve_{side}").run
        sys.stdout.write("\n" + json.dumps(run(Path(folder), args.steps, args.seed)) + "\n")
        return
    title = f"{args.steps} steps of {PROMPTS} x {GROUP} answers, {args.threads} threads"
    columns = (
        "",
        "right, first steps",
        "right, last steps",
        "held-out before",
        "after",
        "s a step",
    )
    table = Table(*columns, title=title)
    for side in ("trl", "atlas"):
        if args.only in (None, side):
            table.add_row(side, *_cells(_in_its_process(side, args)))
    Console(width=110).print(table)


def _in_its_process(side: str, args: argparse.Namespace) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--child", side, folder, "--steps", str(args.steps)]
        command += ["--seed", str(args.seed), "--threads", str(args.threads)]
        env = os.environ | {"OMP_NUM_THREADS": str(args.threads), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=env, check=False)
    if done.returncode:
        sys.exit(f"{side} failed with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def _cells(found: Mapping[str, Any]) -> list[str]:
    right = found["right"]
    shares = (fmean(right[:ENDS]), fmean(right[-ENDS:]), found["before"], found["after"])
    return [*(f"{share:.1%}" for share in shares), f"{median(found['seconds']):.1f}"]


if __name__ == "__main__":
    main()
