"""GRPO on a server that is killed again and again: nothing may be lost, nothing counted twice.

    python benchmarks/chaos.py                         # 200 steps, a kill every 20
    python benchmarks/chaos.py --steps 6 --every 3     # shows that it runs

The tiny model teaches itself through a vLLM server of its own. Every so many steps the server and
its engine are killed (SIGKILL) at a random moment of the step. At the end every step must have been
taken once, with its whole number of rollouts, all sampled with the weights of its own version.
The cool-down between two deaths is switched off here: it would end the run, as it should.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
from pathlib import Path

import pyarrow.parquet
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from atlas.config.grpo import GRPOConfig
from atlas.config.resolve import resolve
from atlas.data.tasks import mixed_tasks
from atlas.from_scratch.model.tokenizer import train_tokenizer
from atlas.models.checkpoints import save_model
from atlas.run.progress import Silent
from atlas.run.run_dir import RunDir
from atlas.run.stopping import StopRequest
from atlas.serve.supervisor import RestartPolicy, Supervisor
from atlas.training.grpo import train_grpo

PROMPTS, GROUP = 4, 4


def say(line: str) -> None:
    """Show a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Killer(Silent):
    """Kills the server that the run started, some time into every so-manieth step."""

    def __init__(self, every: int, steps: int) -> None:
        self.every, self.steps = every, steps
        self.done = self.kills = 0
        self.supervisors: list[Supervisor] = []
        self._chance = random.Random(0)

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count steps; kill in the next one where it is time."""
        self.done += units
        say(f"step {self.done}: {note}")
        if self.done % self.every == 0 and self.done < self.steps:
            threading.Timer(self._chance.uniform(0, 0.5), self.kill).start()

    def kill(self) -> None:
        """End server and engine at once."""
        self.kills += 1
        group = self.supervisors[-1].process.pid
        say(f"kill {self.kills}: the server, in step {self.done + 1}")
        os.killpg(group, signal.SIGKILL)


def main() -> None:
    """Run, kill, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=20, help="steps between two kills")
    asked = parser.parse_args()
    killer = Killer(asked.every, asked.steps)
    start = Supervisor.start

    def started(self: Supervisor) -> None:
        self._policy = RestartPolicy(cooldown_s=0.0)
        killer.supervisors.append(self)
        start(self)

    Supervisor.start = started
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir.create(Path(folder) / "run", "grpo")
        figures = train_grpo(
            run,
            config_for(tiny_model(Path(folder) / "model"), run.path, asked.steps),
            mixed_tasks(("chain_sum",), 64, seed=3),
            progress=killer,
            stop=StopRequest(),
        )
        counted = check(run, asked.steps)
    say(
        f"{asked.steps} steps, {killer.kills} kills: {figures['steps']:.0f} steps taken "
        f"({figures['skipped_steps']:.0f} without an update), {counted} "
        f"rollouts of {asked.steps * PROMPTS * GROUP}, none lost, none twice; "
        f"{figures['serving/requests_sent_again']:.0f} requests sent again"
    )


def check(run: RunDir, steps: int) -> int:
    """Return how many rollouts were learned from; fails where one is missing or there twice."""
    files = sorted(run.rollouts.glob("step_*.parquet"))
    assert len(files) == steps, f"{len(files)} steps were rolled out, not {steps}"
    counted = 0
    for file in files:
        rows = pyarrow.parquet.read_table(file).num_rows
        assert rows == PROMPTS * GROUP, f"{file.name} has {rows} rollouts"
        counted += rows
    return counted


def tiny_model(folder: Path) -> Path:
    """Write a model of two layers that knows nothing."""
    tasks = mixed_tasks(("chain_sum",), 64, seed=3)
    tokenizer = train_tokenizer([task.question for task in tasks], vocab_size=300)
    set_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    save_model(folder, LlamaForCausalLM(config), tokenizer)
    return folder


def config_for(model: Path, output: Path, steps: int) -> GRPOConfig:
    """Return a run whose groups are never dead: length tells members apart."""
    return resolve(
        GRPOConfig(
            model_name_or_path=str(model),
            student_model=str(model),
            output_dir=str(output),
            max_steps=steps,
            learning_rate=1e-3,
            num_generations=GROUP,
            per_device_train_batch_size=PROMPTS,
            gradient_accumulation_steps=1,
            max_new_tokens=24,
            student_max_new_tokens=8,
            approach_max_new_tokens=4,
            temperature=1.0,
            mask_truncated_completions=False,
            length_probe_samples=0,
            rollout_engine="vllm",
        )
    )


if __name__ == "__main__":
    main()
