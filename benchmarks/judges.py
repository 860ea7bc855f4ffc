"""How close to the ideal do the judges work? A slow judge that fails sometimes, on this machine.

Run: ``.venv/bin/python benchmarks/judges.py [concurrency]``. A local endpoint takes 200 ms a call
and fails at 5 % of them; 512 responses are judged with 3 samples each. The ideal is what these
calls take at this concurrency when nothing fails and nothing else costs time: calls / concurrency
x 0.2 s. Prints ideal, measured time and their ratio, and what was retried and given up.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from atlas.config.parts.endpoint import EndpointConfig
from atlas.config.rim import RIMConfig, RIMSettings
from atlas.rewards.judges.rim import RIMReward

ROOT = Path(__file__).resolve().parents[1]
NUM_RESPONSES = 512
NUM_SAMPLES = 3
DELAY_S = 0.2
FAILURE_RATE = 0.05
CONCURRENCY = 16


def main() -> None:
    """Start the endpoint, judge, print the table."""
    concurrency = int(sys.argv[1]) if len(sys.argv) > 1 else CONCURRENCY
    command = [sys.executable, "-m", "tests.unit.rewards.judge_server"]
    server = subprocess.Popen(
        [*command, str(DELAY_S), str(FAILURE_RATE)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        rows = judge(server.stdout.readline().strip(), concurrency)
    finally:
        server.communicate()
    table = Table("", "", title=f"{NUM_RESPONSES} responses, {NUM_SAMPLES} samples each")
    for name, value in rows.items():
        table.add_row(name, value)
    Console().print(table)


def judge(url: str, concurrency: int) -> dict[str, str]:
    """Judge all responses; returns the rows of the table."""
    config = RIMConfig(
        active_judges={"helpfulness": True},
        small=EndpointConfig(base_url=url, concurrency=concurrency),
        settings=RIMSettings(temperatures=(0.2, 0.5, 0.8), cache_path=None),
    )
    prompts = [f"Calculate {i} + 3 * 4." for i in range(NUM_RESPONSES)]
    responses = [f"A = 3 * 4. B = {i} + A. Answer B." for i in range(NUM_RESPONSES)]
    with RIMReward(config=config) as reward:
        # The first call asks which model is served and opens the first connection.
        reward.evaluate(prompt="Calculate 1 + 1.", response="Add 1 to 1.")
        reward.report()
        started = time.perf_counter()
        results = reward.evaluate_batch(prompts, responses)
        seconds = time.perf_counter() - started
        metrics = reward.report().metrics
    ideal = NUM_RESPONSES * NUM_SAMPLES / concurrency * DELAY_S
    return {
        "concurrency": str(concurrency),
        "seconds, ideal": f"{ideal:.2f}",
        "seconds, measured": f"{seconds:.2f}",
        "measured / ideal": f"{seconds / ideal:.3f}",
        "calls": f"{metrics['judges/calls']:.0f}",
        "failed and retried": f"{metrics['judges/retries']:.0f}",
        "calls without a verdict, %": f"{100 * metrics['judges/abstention_rate']:.2f}",
        "responses without a score": str(sum(result.score is None for result in results)),
        "escalated, %": f"{100 * metrics['escalation_rate']:.1f}",
    }


if __name__ == "__main__":
    main()
