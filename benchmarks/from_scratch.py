"""Guide A for real: a small model from random weights, by the guide's own commands.

    python benchmarks/from_scratch.py                        at most 20 minutes on two cores

Data, stage 0 and the ranked stage run as a user runs them, in ``runs/from_scratch``. Then the
figures of ``training_stats.json`` are held against what guide A promises: pairs in the right order,
loss, and own greedy answers to unseen prompts, verified right more often than before the ranked
stage by more than chance. A run that was finished before is read, not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "from_scratch" / "nano.json"
TASKS = "chain_sum"
TOY = ("epochs=0.5", "pretrain_epochs=0.5", "eval_prompts=20", "eval_max_new_tokens=16")

console = Console(highlight=False, width=120)


def main() -> None:
    """Run what is missing and print the table; exit 1 where a promise is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/from_scratch"))
    parser.add_argument("--prompts", type=int, default=6000, help="of the training data")
    parser.add_argument("--toy", action="store_true", help="a minute, to see that it runs")
    parser.add_argument(
        "settings", nargs="*", help="key=value, over configs/from_scratch/nano.json"
    )
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    model = folder / "model"
    settings = [*TOY, *arguments.settings] if arguments.toy else arguments.settings
    if not (model / "training_stats.json").is_file():
        started = time.monotonic()
        prepare(folder, 160 if arguments.toy else arguments.prompts)
        train(folder, model, settings)
        console.print(f"all in {(time.monotonic() - started) / 60:.1f} minutes")
    stats = json.loads((model / "training_stats.json").read_text(encoding="utf-8"))
    rows = promises(stats)
    show(rows)
    if any(kept is False for *_, kept in rows):
        sys.exit(1)


def prepare(folder: Path, prompts: int) -> None:
    """Write the data, by the guide's first command."""
    sizes = ["--size", str(prompts), "--validation-size", str(min(500, prompts))]
    script("prepare_grpo_data.py", "--tasks", TASKS, *sizes, "--output-dir", str(folder / "data"))


def train(folder: Path, model: Path, settings: Sequence[str]) -> None:
    """Train, by the guide's second command."""
    script(
        "train_atlas.py",
        *("--config", str(CONFIG)),
        f"train_data={folder / 'data' / 'grpo_training.json'}",
        f"validation_data={folder / 'data' / 'validation.json'}",
        f"output_dir={folder / 'run'}",
        f"model_dir={model}",
        f"log_dir={folder / 'logs'}",
        *settings,
    )


def script(name: str, *arguments: str) -> None:
    """Run one of the guide's scripts; its failure ends the benchmark."""
    done = subprocess.run([sys.executable, ROOT / name, *arguments], check=False)
    if done.returncode:
        sys.exit(done.returncode)


Row = tuple[str, str, str, bool | None]
"""What is promised, what was before, what is now, whether the promise is kept; None: no promise."""


def promises(stats: Mapping[str, Any]) -> list[Row]:
    """Return guide A's promises with what was measured."""
    found = stats["evaluate"]
    before, after = (found[f"{name}_ranking_accuracy"] for name in ("random", "ranked"))
    gain = found["verified_gain"]
    return [
        (
            "better response likelier, share of pairs: above 0.9",
            f"{before:.3f} random, {found['stage_0_ranking_accuracy']:.3f} stage 0",
            f"{after:.3f}",
            after > 0.9,
        ),
        (
            "loss of the best response, nats a token: below 1.5",
            f"{found['random_loss']:.3f} random, {found['stage_0_loss']:.3f} stage 0",
            f"{found['ranked_loss']:.3f}",
            found["ranked_loss"] < 1.5,
        ),
        (
            "loss of the ranked stage: below 1.5",
            "",
            f"{stats['ranked']['loss']:.3f}",
            stats["ranked"]["loss"] < 1.5,
        ),
        (
            f"own answers verified right, {found['verified_prompts']} unseen prompts",
            interval(found["stage_0_verified"]),
            interval(found["ranked_verified"]),
            None,
        ),
        ("more of them than before: above 0", "", interval(gain), gain["low"] > 0),
    ]


def interval(rate: Mapping[str, float]) -> str:
    """Return a rate with its 95 % interval, in percent."""
    value, low, high = (100 * rate[name] for name in ("value", "low", "high"))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def show(rows: Sequence[Row]) -> None:
    """Print the promises as a table."""
    table = Table(title="Guide A: a model from random weights")
    for column in ("promise", "before", "after", ""):
        table.add_column(column)
    for what, before, after, kept in rows:
        table.add_row(what, before, after, {True: "kept", False: "MISSED", None: ""}[kept])
    console.print(table)


if __name__ == "__main__":
    main()
