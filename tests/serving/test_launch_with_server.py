"""Guide B's one command for servers and training, as its user types it, all on the CPU."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import psutil
from tests.integration.test_training_commands import sessions
from tests.serving.conftest import ROOT
from tests.unit.cli.serve.test_launch_with_server import free_pair

from atlas.serve.interpreter import Interpreter
from atlas.traces.jsonl import write_jsonl

SETTINGS = (
    *("model_name_or_path=base", "student_model=base", "data=runtime_traces"),
    *("max_steps=3", "num_generations=4", "gradient_accumulation_steps=1", "warmup_ratio=0"),
    *("max_new_tokens=16", "student_max_new_tokens=16", "approach_max_new_tokens=8"),
    *("mask_truncated_completions=false", "max_clipped_share=1", "length_probe_samples=0"),
    *("canary_tasks=0", "use_peft=true", "lora_r=4"),
)


def test_two_servers_and_a_training_with_an_adapter(
    interpreter: Interpreter, tmp_path: Path
) -> None:
    """`interpreter` skips it where there is no vLLM; the script finds it by itself."""
    write_jsonl(tmp_path / "traces.jsonl", sessions())
    port = free_pair()
    command = [
        *("scripts/launch_with_server.sh", "0", "0", "configs/run/teacher_rcl.yaml"),
        *(*SETTINGS, f"export_path={tmp_path / 'traces.jsonl'}", f"output_dir={tmp_path / 'run'}"),
        *("--port", str(port)),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for served in (port, port + 1):
        assert f"curl http://127.0.0.1:{served}/v1/models" in done.stdout
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(row["serving/logprob_difference_max"] <= 1e-4 for row in rows)
    assert (tmp_path / "run" / "final" / "adapter" / "adapter_config.json").is_file()
    commands = [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
    assert not [one for one in commands if f"--port {port}" in one and "vllm" in one]
