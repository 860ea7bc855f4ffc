"""A whole step of GRPO, side by side with TRL: generation, reference log-probabilities, update.

Run: ``.venv/bin/python benchmarks/grpo_step.py [--only NAME ...] [--steps 5] [--warmup 2]
[--threads 2] [--processor-time] [--smoke] [--ours-only | --trl-only]``. Both sides get the same
model, prompts, group size, law of lengths, precision, reward, beta, threads and matmul precision
flag. Each side of each workload runs in a process of its own, TRL first, ours right after it.
Prints the machine, medians, the split by phase, and which share of the machine's measured matmul
peak our step reaches, counting only what is needed (sides/machine.py). A precision that the
processor only emulates is left out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table
from sides import machine
from sides.models import save
from sides.workloads import MATMUL_PRECISION, WORKLOADS, Workload, few_tokens


def main() -> None:
    """Measure the chosen workloads and print the table."""
    args = _arguments()
    if args.child:
        sys.stdout.write(json.dumps(_measure(args)) + "\n")
        return
    columns = ("workload", "TRL ms", "ours ms", "ratio", "target", "reached")
    columns += ("TRL gen / rest", "ours gen / update", "length TRL / ours", "GFLOP/s peak", "share")
    clock = "processor time" if args.processor_time else "wall time"
    table = Table(
        *columns,
        title=f"One GRPO step, {args.threads} threads, {clock}, median of {args.steps} "
        f'after {args.warmup}, float32 matmul precision "{MATMUL_PRECISION}" on both sides',
    )
    machine.prepare(args.threads)
    console = Console(width=160)
    console.print(machine.description())
    for workload in WORKLOADS:
        if args.only and workload.name not in args.only:
            continue
        if machine.computes_in(workload.dtype):
            table.add_row(*_row(workload, args))
        else:
            table.add_row(workload.name, "-", "-", "-", "-", f"no {workload.dtype} instructions")
    console.print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("--only", nargs="+", choices=names, help="these workloads only")
    parser.add_argument("--steps", type=int, default=5, help="measured steps")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them")
    parser.add_argument("--smoke", action="store_true", help="see that it runs, on a few tokens")
    parser.add_argument("--threads", type=int, default=2, help="threads of both sides")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="count seconds of the processor, for a machine on which other work runs",
    )
    sides = parser.add_mutually_exclusive_group()
    sides.add_argument("--ours-only", action="store_true", help="don't run TRL")
    sides.add_argument("--trl-only", action="store_true", help="don't run ours")
    parser.add_argument(
        "--compile", action="store_true", help="ours with torch_compile=true; needs --ours-only"
    )
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    found = parser.parse_args()
    if found.compile and not (found.ours_only or found.child):
        parser.error("--compile changes one side only, so give --ours-only too")
    return found


def _row(workload: Workload, args: argparse.Namespace) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), workload.shape, workload.dtype, end_probability=workload.end_probability)
        trl = None if args.ours_only else _side("trl", folder, workload, args)
        ours = None if args.trl_only else _side("atlas", folder, workload, args)
    cells = [workload.name, _ms(trl), _ms(ours)]
    if trl and ours:
        ratio = median(trl["steps"]) / median(ours["steps"])
        cells += [
            f"{ratio:.2f}",
            f"{workload.target:g}",
            "yes" if ratio >= workload.target else "no",
        ]
    else:
        cells += ["-", f"{workload.target:g}", "-"]
    cells += [_split(trl), _split(ours)]
    cells.append(" / ".join(f"{side['mean_length']:.1f}" if side else "-" for side in (trl, ours)))
    peak = (ours or trl or {})["peak"]
    share = f"{ours['needed'] / median(ours['steps']) / peak:.0%}" if ours else "-"
    return [*cells, f"{peak / 1e9:.0f}", share]


def _side(side: str, folder: str, workload: Workload, args: argparse.Namespace) -> dict[str, Any]:
    """Run one side in a process of its own."""
    command = [sys.executable, __file__, "--child", side, folder, "--only", workload.name]
    command += ["--steps", str(args.steps), "--warmup", str(args.warmup)]
    command += ["--threads", str(args.threads)]
    threads = str(args.threads)
    command += ["--processor-time"] if args.processor_time else []
    command += ["--smoke"] if args.smoke else []
    command += ["--compile"] if args.compile else []
    env = os.environ | {"OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        sys.exit(f"{side} on {workload.name} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    side, folder = args.child
    (workload,) = (w for w in WORKLOADS if w.name == args.only[0])
    workload = few_tokens(workload) if args.smoke else workload
    machine.prepare(args.threads)
    if args.processor_time:
        machine.use_processor_time()
    peak = machine.measured_peak(workload.dtype)
    # Imported here, so that each side is alone in its process.
    module = importlib.import_module(f"sides.{side}_side")
    more = {"compiled": True} if args.compile else {}
    result = module.run(Path(folder), workload, steps=args.steps, warmup=args.warmup, **more)
    return {**result, "peak": peak}


def _ms(side: dict[str, Any] | None) -> str:
    return f"{median(side['steps']) * 1e3:.0f}" if side else "-"


def _split(side: dict[str, Any] | None) -> str:
    """Return the medians of generation and of everything else."""
    if not side:
        return "-"
    rest = [whole - part for whole, part in zip(side["steps"], side["generate"], strict=True)]
    return f"{median(side['generate']) * 1e3:.0f} / {median(rest) * 1e3:.0f}"


if __name__ == "__main__":
    main()
