"""Our client against a bare loop of the same requests to the same vLLM server; and weight updates.

    python benchmarks/serving.py            # the shipped base model, and one of 125 M parameters
    python benchmarks/serving.py --small    # few requests and no large model: shows that it runs

Three figures: tokens a second of the bare loop (one thread a connection, `http.client`, answers
parsed and nothing else), the same of `VLLMGenerator`, and the seconds that one update of a model of
125 million parameters takes from pause to proof. Bare and ours take turns, so that what else the
machine does hits both; the best turn of each counts.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from atlas.config.grpo import GRPOConfig
from atlas.data.tasks import mixed_tasks
from atlas.machine.accelerator import name_accelerator
from atlas.models.checkpoints import load_model, load_tokenizer
from atlas.policy.served import ServedPolicy
from atlas.policy.servers import open_served_policy
from atlas.prompts.folder import shipped_prompts
from atlas.prompts.renderer import Renderer
from atlas.rollouts.end_tokens import end_ids
from atlas.rollouts.generator import Sampling
from atlas.rollouts.vllm.wire import GENERATE, GENERATE_DIALECT, SampleRequest

GROUP = 8
SAMPLING = Sampling(max_new_tokens=64, temperature=0.7)


def say(line: str) -> None:
    """Show a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Print the three figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="few requests, no large model")
    parser.add_argument("--in-flight", type=int, default=32, help="requests at a time")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        throughput(
            Path(folder), 8 if asked.small else 128, 1 if asked.small else 4, asked.in_flight
        )
        if not asked.small:
            updates(Path(folder))


def throughput(folder: Path, num_prompts: int, turns: int, in_flight: int) -> None:
    """Compare tokens a second."""
    policy = served("base", folder, in_flight)
    try:
        renderer = Renderer(tokenizer=load_tokenizer("base"), prompts=shipped_prompts("plain"))
        tasks = mixed_tasks(("chain_sum", "leg_counting"), num_prompts, seed=1, split="train")
        prompts = [renderer.prompt("baseline", task=task.question) for task in tasks]
        bare_loop(policy, prompts, in_flight)  # warm
        best = {"bare": 0.0, "ours": 0.0}
        for _ in range(turns):
            best["bare"] = max(best["bare"], bare_loop(policy, prompts, in_flight))
            best["ours"] = max(best["ours"], ours(policy, prompts))
        share = best["ours"] / best["bare"]
        say(f"bare loop    {best['bare']:8,.0f} tokens/s  ({num_prompts} prompts × {GROUP})")
        say(f"our client   {best['ours']:8,.0f} tokens/s  {share:.1%} of the bare loop")
    finally:
        policy.close()


def ours(policy: ServedPolicy, prompts: Sequence[Sequence[int]]) -> float:
    """Return tokens a second of one turn."""
    started = time.perf_counter()
    groups = policy.generator.generate(prompts, SAMPLING, num_samples=GROUP)
    tokens = sum(one.num_tokens for group in groups for one in group)
    return tokens / (time.perf_counter() - started)


def bare_loop(policy: ServedPolicy, prompts: Sequence[Sequence[int]], in_flight: int) -> float:
    """Return tokens a second of the same requests without any of our code around them."""
    facts = policy.servers[0].client.facts
    ends = tuple(sorted(end_ids(policy.generator.tokenizer, policy.model.config)))
    bodies = [
        json.dumps(
            GENERATE_DIALECT.body(
                SampleRequest(
                    prompt=prompt,
                    sampling=SAMPLING,
                    limit=min(SAMPLING.max_new_tokens, facts.window - len(prompt)),
                    num_samples=GROUP,
                    seed=index * GROUP,
                    end_ids=ends,
                ),
                facts.model,
            )
        )
        for index, prompt in enumerate(prompts)
    ]
    address = urlsplit(facts.url)
    shares = [bodies[start::in_flight] for start in range(min(in_flight, len(bodies)))]

    def connection(share: Sequence[str]) -> int:
        server = http.client.HTTPConnection(address.hostname or "", address.port, timeout=600)
        tokens = 0
        for body in share:
            server.request("POST", GENERATE, body, {"content-type": "application/json"})
            choices = json.loads(server.getresponse().read())["choices"]
            tokens += sum(len(choice["token_ids"]) for choice in choices)
        server.close()
        return tokens

    started = time.perf_counter()
    with ThreadPoolExecutor(len(shares)) as threads:
        tokens = sum(threads.map(connection, shares))
    return tokens / (time.perf_counter() - started)


def updates(folder: Path) -> None:
    """Print how long an update of a model of 125 million parameters takes."""
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=14,
        num_attention_heads=12,
        num_key_value_heads=12,
        head_dim=64,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    million = sum(p.numel() for p in model.parameters()) / 1e6
    name_accelerator()
    model.save_pretrained(folder / "large")
    load_tokenizer("base").save_pretrained(folder / "large")
    policy = served(str(folder / "large"), folder, 32)
    try:
        for version in range(1, 6):
            with torch.no_grad():
                for parameter in policy.model.parameters():
                    parameter *= 1.01
            figures = policy.publish(version)
            say(
                f"update of {million:.0f} M parameters, pause to proof: "
                f"{figures['serving/update_seconds']:.2f} s (log-probabilities differ by "
                f"{figures['serving/logprob_difference_max']:.1e} at most)"
            )
    finally:
        policy.close()


def served(model: str, folder: Path, in_flight: int) -> ServedPolicy:
    """Return a policy on a server that is started for it."""
    config = GRPOConfig(
        model_name_or_path=model,
        student_model="base",
        rollout_engine="vllm",
        max_requests_in_flight=in_flight,
    )
    policy = open_served_policy(
        config,
        load_model(model),
        load_tokenizer(model),
        SAMPLING,
        log=folder / "server.log",
        say=say,
    )
    policy.publish(0)
    return policy


if __name__ == "__main__":
    main()
