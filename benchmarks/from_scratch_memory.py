"""The guide's 1.1B model in 16 GB: three steps by its own configuration, saved and loaded again.

    python benchmarks/from_scratch_memory.py                 a quarter of an hour on two cores
    python benchmarks/from_scratch_memory.py --size small    a minute, to see that it runs

``train_config.json`` as the guide writes it (1.1B, batch 4), every sequence 128 tokens, and the
planner told that there are 16 GB. Then the model answers 48 prompts, of which it must not take all
at a time. Printed is the largest resident memory of the training process, pages of mapped files
included, and whether the saved folder gives the logits of the trained model, in `transformers` and
from its pickle.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
PROMPT, RESPONSE, RESPONSES = 60, 64, 2
"""Digits, each a token; with the marks of both turns a sequence is 128 tokens."""
ANSWERS, ANSWER = 48, 64
LEAN = ("precision=bf16_weights", "gradient_checkpointing=true")

console = Console(highlight=False, width=120)


def main() -> None:
    """Train three steps, check what was saved; exit 1 where it took too much or is not equal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="1.1B")
    parser.add_argument("--limit-gb", type=float, default=16.0)
    parser.add_argument("--folder", type=Path, default=Path("runs/from_scratch_memory"))
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if arguments.check:
        sys.stdout.write(json.dumps(differences(folder)))
        return
    write_data(folder / "train.json", 12, response=RESPONSE)
    write_data(folder / "validation.json", ANSWERS, response=4)
    started = time.monotonic()
    train(folder, arguments)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    minutes = (time.monotonic() - started) / 60
    console.print(
        f"{arguments.size}: three steps, answers and saving in {minutes:.1f} minutes, at most "
        f"{peak:.2f} GB resident; the aim is below {arguments.limit_gb:g}"
    )
    check = [sys.executable, __file__, "--check", "--folder", str(folder)]
    found = json.loads(subprocess.run(check, check=True, capture_output=True, text=True).stdout)
    for what, difference in found.items():
        console.print(f"{what}: largest difference {difference:g}")
    if peak >= arguments.limit_gb or any(found.values()):
        sys.exit(1)


def write_data(path: Path, prompts: int, *, response: int) -> None:
    """Write ranked records in which every sequence has one length, and a task to verify."""
    rng = random.Random(prompts)

    def digits(count: int) -> str:
        return " ".join(rng.choice("0123456789") for _ in range(count))

    path.parent.mkdir(parents=True, exist_ok=True)
    records = [
        {
            "prompt": digits(PROMPT),
            "responses": [{"text": digits(response), "rank": k + 1} for k in range(RESPONSES)],
            "task": {"family": "exact", "answer": "7"},
        }
        for _ in range(prompts)
    ]
    path.write_text(json.dumps(records), encoding="utf-8")


def train(folder: Path, arguments: argparse.Namespace) -> None:
    """Run the guide's command for three steps of the ranked stage."""
    command = [
        *(sys.executable, str(ROOT / "train_atlas.py"), "--fresh"),
        *("--config", str(ROOT / "train_config.json")),
        f"model_size={arguments.size}",
        f"memory_limit_gb={arguments.limit_gb}",
        f"train_data={folder / 'train.json'}",
        f"validation_data={folder / 'validation.json'}",
        f"output_dir={folder / 'run'}",
        f"model_dir={folder / 'model'}",
        f"log_dir={folder / 'logs'}",
        *("stages=[tokenizer,ranked]", "max_steps=3", "logging_steps=1"),
        f"eval_max_new_tokens={ANSWER}",
        *(() if arguments.size == "1.1B" else LEAN),
    ]
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def differences(folder: Path) -> dict[str, float]:
    """Return how far the saved folder is from the trained model."""
    import torch  # noqa: PLC0415 - only in the checking process

    from atlas.from_scratch.model.pickled import as_float32, read_pickled  # noqa: PLC0415
    from atlas.models.checkpoints import load_model  # noqa: PLC0415

    ids = torch.arange(5, 21).unsqueeze(0)
    far: list[float] = []

    def logits(place: str) -> torch.Tensor:
        model = load_model(folder / place)
        with torch.inference_mode():
            found = model(ids).logits.clone()
        if place == "model":
            weights = dict(model.named_parameters())
            pickled = read_pickled(folder / "model" / "model_weights.pkl")
            assert weights.keys() == pickled.keys()
            for name, weight in weights.items():
                again = torch.from_numpy(as_float32(*pickled[name]))
                far.append(float((again - weight).abs().max()))
        del model
        gc.collect()
        return found

    trained, saved = logits("run/final"), logits("model")
    return {
        "logits of the saved folder": float((trained - saved).abs().max()),
        "weights in the pickle": max(far),
    }


if __name__ == "__main__":
    main()
