"""Atlas on one GPU, in at most eight minutes: what only a GPU can show.

Run: ``.venv/bin/python benchmarks/gpu.py [SECTION ...] [--tiny] [--out gpu.json] [--docs]``, or
``make gpu``. Each section stands alone: one that fails says so and costs only itself, and what was
found until then is in the file. Models are random, in the shapes of the guide's; nothing is
downloaded. ``--tiny`` runs every section on a CPU with models of a few thousand weights, to see
that they run. ``--docs`` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from gpu_sections import passes, sampling, sharing, weights
from gpu_sections.setting import Found, Setting
from rich.console import Console

SECTIONS: Mapping[str, Callable[[Setting, Found], None]] = {
    "forward": passes.forward,
    "projection": passes.projection,
    "update": passes.grpo_update,
    "sampling": sampling.sampling,
    "likelihood": passes.likelihood,
    "fsdp": sharing.fsdp,
    "transfer": weights.transfer,
    "ipc": weights.ipc,
    "ddp": sharing.ddp,
    "compile": passes.compiling,
    "flash": passes.flash,
}
"""In the order of what is wanted most, where time is short."""
PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


def main() -> None:
    """Run the sections, and write down what each found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")) / "gpu.json")
    parser.add_argument("--docs", action="store_true")
    args = parser.parse_args()
    for name in set(args.sections) - SECTIONS.keys():
        parser.error(f"there is no section {name}; there are {', '.join(SECTIONS)}")
    if not args.tiny and not torch.cuda.is_available():
        parser.exit(2, "there is no GPU here that PyTorch can use; --tiny shows that it runs\n")
    setting = Setting(tiny=args.tiny)
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": "CPU, tiny" if args.tiny else torch.cuda.get_device_name(),
    }
    failed = False
    for name in args.sections or SECTIONS:
        one = found[name] = run(SECTIONS[name], setting)
        failed |= "error" in one
        args.out.write_text(json.dumps(found, indent=1, default=str) + "\n")
        Console(soft_wrap=True).print(f"{name}: {json.dumps(one, default=str)}", highlight=False)
    if args.docs:
        PAGE.write_text(page(found))
    parser.exit(int(failed))


def run(section: Callable[[Setting, Found], None], setting: Setting) -> Found:
    """Return what a section found, or how it failed."""
    found: Found = {}
    started = time.perf_counter()
    try:
        section(setting, found)
    except Exception as error:  # whatever it is, the other sections are worth their seconds
        found["error"] = f"{type(error).__name__}: {str(error)[:400]}"
    found["seconds"] = round(time.perf_counter() - started, 1)
    gc.collect()
    setting.forget_peak()
    return found


def page(found: Mapping[str, Any]) -> str:
    """Return what was found as the page of the documentation."""
    lines = [
        "# On a GPU",
        "",
        f"What `benchmarks/gpu.py --docs` printed on one {found['device']}, with PyTorch "
        f"{found['torch']} and transformers {found['transformers']}.",
        "",
    ]
    for name, section in found.items():
        if isinstance(section, dict):
            lines += [f"## {name}", "", "| what | found |", "| --- | --- |"]
            lines += [f"| {what} | {value} |" for what, value in section.items()]
            lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
