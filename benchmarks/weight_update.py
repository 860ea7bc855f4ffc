"""How long a server takes over new weights: pause, transfer, load, cache, resume, on one machine.

    python benchmarks/weight_update.py
    python benchmarks/weight_update.py --size tiny --updates 3

A real vLLM server (``make serve-env``) of a Llama with random weights in float32 gets new ones
through the way that is the default, a file in memory. An update is timed as the trainer waits for
it. Afterwards the server says which version it has.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from atlas.errors import AtlasError
from atlas.from_scratch.model.tokenizer import train_tokenizer
from atlas.machine.accelerator import name_accelerator
from atlas.serve.control import ControlClient
from atlas.serve.interpreter import find_interpreter
from atlas.serve.settings import ServerSettings
from atlas.serve.supervisor import Supervisor

SIZES = {
    "tiny": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "heads": 2},
    "125M": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "heads": 12},
}
VOCABULARY = {"tiny": 512, "125M": 50257}


def make_model(size: str) -> LlamaForCausalLM:
    """Return a model with random weights."""
    shape = dict(SIZES[size])
    heads = shape.pop("heads")
    config = LlamaConfig(
        vocab_size=VOCABULARY[size],
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        **shape,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config)


def measure(size: str, updates: int) -> list[float]:
    """Return the seconds of each update, the first of which warms everything up."""
    model = make_model(size)
    with tempfile.TemporaryDirectory() as folder:
        name_accelerator()
        model.save_pretrained(folder)
        train_tokenizer(["A text."], vocab_size=290).save_pretrained(folder)
        settings = ServerSettings(model=folder, port=0, dtype="float32", max_model_len=512)
        log = Path(folder) / "server.log"
        with Supervisor(settings, find_interpreter(), log=log) as server:
            server.wait_until_ready()
            control = server.control()
            return [_update(control, model, version) for version in range(1, updates + 2)]


def _update(control: ControlClient, model: LlamaForCausalLM, version: int) -> float:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.001)
    started = time.perf_counter()
    control.update_weights(model.named_parameters(), version)
    seconds = time.perf_counter() - started
    assert control.version() == version
    return seconds


def main() -> None:
    """Measure, and print a line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", choices=SIZES, default="125M")
    parser.add_argument("--updates", type=int, default=5, help="after one that warms up")
    arguments = parser.parse_args()
    try:
        find_interpreter()
    except AtlasError as error:
        sys.stdout.write(f"not measured: {error}\n")
        return
    warm_up, *rest = measure(arguments.size, arguments.updates)
    weights = sum(parameter.nbytes for parameter in make_model(arguments.size).parameters())
    sys.stdout.write(
        f"{arguments.size}, {weights / 1e6:.0f} MB in float32: {statistics.median(rest):.2f} s an "
        f"update (median of {len(rest)}, most {max(rest):.2f}; the first {warm_up:.2f})\n"
    )


if __name__ == "__main__":
    main()
