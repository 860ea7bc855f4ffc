"""The two guides, line by line: every command and every snippet that they show.

A case is one line of a guide, as the guide writes it, with what is done with it here. Where a line
can't be run in this place, its id says why and where it is run. ``guide_workshop.py`` has both
trainings done once, tiny, which the cases share.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.integration.guide_workshop import (
    H100,
    LLAMA,
    ROOT,
    SMALL_DATA,
    SMALL_GRPO,
    Workshop,
    file_says,
    has_keys,
    set_up,
    subset,
)
from tests.unit.data.sources.recorded import recorded

from atlas.cli.app import app
from atlas.config import GRPOConfig, RankedConfig, SFTConfig, load_config
from atlas.from_scratch.planning import shape_of
from atlas.objectives.ranked import ranked_loss
from atlas.traces.postgres.writing import write_sessions

Check = Callable[[str, Workshop], None]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("workshop")
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield set_up(folder)
    finally:
        os.chdir(before)


# What is done with a line.


def at_80_gb(change: str = "") -> Check:
    """Plan a training of eight billion weights for as many GPUs of 80 GB as the line asks for.

    Args:
        change: Settings without which it is refused there, and with which it fits. They come first
            in the refusal. Empty: the plan finds settings with which it fits by itself.
    """

    def check(line: str, shop: Workshop) -> None:
        number = re.match(r"\S+ (\d+) ", line)
        line = line.replace("checkpoints/sft/final", LLAMA)
        ran = shop.script(line, *SMALL_DATA, *H100, "--dry-run")
        assert f"{number[1] if number else 16} device(s), engine " in ran.output
        assert "8,030,261,248 of 8,030,261,248 parameters are trained" in ran.output
        if change:
            refused = re.search(r"GB a device.*, but 80\.0 GB is memory_limit_gb; (.*)$", ran.error)
            assert refused, ran.error
            assert refused[1].split(" or ")[0] == f"it fits with {change}"
            ran = shop.script(line, *SMALL_DATA, *H100, *change.split(), "--dry-run")
        assert ran.error == ""
        assert "It fits: " in ran.output

    return check


def planned_by_the_script(line: str, shop: Workshop) -> None:
    """The same through bash, as the user types it."""
    words = [str(ROOT / "scripts" / "launch.sh"), *line.split()[1:]]
    words += [*SMALL_DATA, *H100, "--dry-run"]
    done = subprocess.run(words, cwd=shop.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 device(s), engine fsdp" in done.stdout
    assert "plan: engine=fsdp offload=true " in done.stdout


def offloaded(line: str, shop: Workshop) -> None:
    at_80_gb()(line, shop)
    ran = shop.script(line, *SMALL_DATA, *H100, "--dry-run")
    assert "2 device(s), engine fsdp" in ran.output
    assert "in CPU memory" in ran.output


def with_deepspeed(line: str, shop: Workshop) -> None:
    line += f" model_name_or_path={LLAMA}"
    at_80_gb("deepspeed=null")(line, shop)
    ran = shop.script(line, *SMALL_DATA, *H100, "--dry-run")
    assert "8 device(s), engine deepspeed" in ran.output
    assert "in CPU memory" in ran.output


def deepspeed_file(snippet: str, shop: Workshop) -> None:
    there = json.loads((ROOT / "configs" / "deepspeed" / "zero2.json").read_text())
    assert subset(json.loads(snippet), there)


def needs_gpus(line: str, shop: Workshop) -> None:
    """Without GPUs it is one line that says what is missing, before anything starts."""
    ran = shop.script(line, *SMALL_GRPO)
    assert ran.error
    assert "\n" not in ran.error
    assert re.search(r"GPU|vLLM|serve-env|one process", ran.error), ran.error


def served(line: str, shop: Workshop) -> None:
    """Whole weights on the guide's own GPUs: the plan finds settings with which they fit."""
    needs_gpus(line, shop)
    at_80_gb()(line, shop)


def understood(line: str, shop: Workshop) -> None:
    """The script is there, and the command behind it takes every option of the line."""
    words = shlex.split(line)
    assert (ROOT / words[1]).is_file()
    command: Any = typer.main.get_command(app)
    command.commands["serve"].make_context("serve", words[2:])


def grpo_setting(line: str, shop: Workshop) -> None:
    """The line's word is a setting of GRPO, and has that value."""
    words = [re.split(r"\s+#", line)[0].replace(": ", "=")]
    assert has_keys(load_config(GRPOConfig, "teacher_rcl", words), words)


def grpo_default(line: str, shop: Workshop) -> None:
    """The value is what the guide's run has without being told."""
    word = re.split(r"\s+#", line)[0].replace(": ", "=")
    assert has_keys(load_config(GRPOConfig, "teacher_rcl"), [word])


def sft_file(snippet: str, shop: Workshop) -> None:
    assert file_says("configs/run/teacher_sft.yaml", snippet)
    said = yaml.safe_load(snippet)
    config = load_config(SFTConfig, "configs/run/teacher_sft.yaml")
    assert config.model_name_or_path == "meta-llama/Llama-3.1-8B-Instruct"
    assert config.dataset_name_or_path == "Arc-Intelligence/Arc-ATLAS-Teach-v0"
    named = {key: value for key, value in said.items() if key != "defaults"}
    assert has_keys(config, [f"{key}={value}" for key, value in named.items()])


def data_file(snippet: str, shop: Workshop) -> None:
    assert file_says("configs/data/runtime_traces.yaml", snippet)
    config = load_config(SFTConfig, "teacher_sft", ["data=runtime_traces"])
    assert (config.export_path, config.eval_split_ratio) == ("traces/aime-batch.jsonl", 0.1)


def reward_file(snippet: str, shop: Workshop) -> None:
    assert file_says("configs/trainer/reward/rim_teaching.yaml", snippet)
    config = load_config(GRPOConfig, "teacher_rcl", ["trainer/reward=rim_teaching"])
    assert config.rim_config == "configs/rim_offline_config.yaml"


def judges_file(snippet: str, shop: Workshop) -> None:
    assert file_says("configs/rim_offline_config.yaml", snippet)


def follows_the_log(line: str, shop: Workshop) -> None:
    """It would go on for ever; a second is enough."""
    words = ["timeout", "1", *line.split()]
    done = subprocess.run(words, cwd=shop.folder, capture_output=True, text=True, check=False)
    assert re.search(r"loss \S+  grad_norm \S+  learning_rate ", done.stdout), done.stdout


def shows_the_charts(line: str, shop: Workshop) -> None:
    """What TensorBoard finds in that folder has the guide's charts."""
    folder = re.search(r"--logdir (\S+)", line)
    assert folder
    (place,) = {path.parent for path in Path(folder[1]).rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(place)).Reload()
    tags = set(events.Tags()["scalars"])
    assert {"train/reward", "train/non_degrade_rate", "time/rollout"} <= tags
    logged = [
        json.loads(text) for text in Path(folder[1], "metrics.jsonl").read_text().splitlines()
    ]
    assert events.Scalars("train/reward")[0].value == pytest.approx(logged[0]["train/reward"])


def override_of_the_data(line: str, shop: Workshop) -> None:
    url = "postgresql://me@host/db"
    words = line.replace("...", url).split()
    config = load_config(GRPOConfig, "teacher_rcl", words)
    assert (config.data_source, config.db_url) == ("runtime_pg", url)


def handled_elsewhere(line: str, shop: Workshop) -> None:
    """Its id says where, or whose tool it is; a page says the same to users."""
    tool = line.split()[0]
    assert not (ROOT / tool).exists()


@dataclass(frozen=True)
class Line:
    """One line of a guide, or one snippet."""

    guide: str
    text: str
    check: Check
    why: str = ""


B = "B"
LINES = [
    Line(B, "+override /data@_global_: runtime_pg db_url=...", override_of_the_data),
    Line(
        B,
        "make_dataset_fn:\n"
        "  _target_: custom_data.runtime_trace_data.get_runtime_trace_dataset\n"
        "  export_path: traces/aime-batch.jsonl  # Or use direct database access\n"
        "  eval_split_ratio: 0.1",
        data_file,
    ),
    Line(
        B,
        "defaults:\n  - _self_\n  - override /model: llama3_8b\n"
        "  - override /data: arc_atlas_sft\n  - override /trainer: sft\n\n"
        "learning_rate: 2e-5\nnum_train_epochs: 1\nper_device_train_batch_size: 2\n"
        "gradient_accumulation_steps: 8\nwarmup_ratio: 0.1\noutput_dir: checkpoints/sft",
        sft_file,
    ),
    Line(
        B,
        "scripts/launch.sh 2 configs/run/teacher_sft.yaml output_dir=checkpoints/sft",
        planned_by_the_script,
        "planned with offload; two processes train in tests/distributed",
    ),
    *[
        Line(B, f"scripts/launch.sh {n} configs/run/teacher_sft.yaml output_dir=checkpoints/sft",
             at_80_gb(), f"planned, since it needs {n} GPUs")
        for n in (4, 8)
    ],
    Line(
        B,
        "scripts/launch.sh 2 configs/run/teacher_sft.yaml output_dir=checkpoints/sft +offload",
        offloaded,
    ),
    Line(
        B,
        "scripts/launch.sh 8 configs/run/teacher_rcl.yaml "
        "deepspeed=configs/deepspeed/zero2.json",
        with_deepspeed,
        "planned, since it needs 8 GPUs; ZeRO-2 trains in tests/distributed",
    ),
    Line(
        B,
        '{"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}, '
        '"overlap_comm": true}}',
        deepspeed_file,
        "without comment, fp16 and clipping: precision and max_grad_norm decide",
    ),
    Line(B, "tail -f checkpoints/sft/training.log", follows_the_log),
    Line(B, "nvidia-smi -l 1", handled_elsewhere, "the driver's own tool"),
    Line(
        B,
        "python trainers/vllm_server.py --model checkpoints/sft/final --port 8765 "
        "--tensor-parallel-size 2 --gpu-memory-utilization 0.9",
        understood,
        "serves on the CPU in tests/serving",
    ),
    Line(
        B,
        "curl http://localhost:8000/v1/models",
        handled_elsewhere,
        "asked of a real server in tests/serving",
    ),
    *[
        Line(B, f"scripts/launch_with_server.sh {n} {n} configs/run/teacher_rcl.yaml "
             "model_name_or_path=checkpoints/sft/final", served,
             "planned; runs on the CPU, as 0 0, in tests/serving")
        for n in (1, 2, 4)
    ],
    Line(B, "tensorboard --logdir checkpoints/grpo --port 6006", shows_the_charts),
    *[
        Line(B, f"{key}={value}", grpo_default)
        for key, value in (("beta", 0.04), ("temperature", 0.7), ("learning_rate", "5e-7"))
    ],
    *[
        Line(B, word, grpo_setting)
        for word in (
            "beta=0.06", "beta=0.02", "temperature=0.9", "temperature=0.5", "learning_rate=1e-6",
            "per_device_train_batch_size=1", "gradient_checkpointing=true", "beta=0.1",
            "learning_rate=1e-7", "dataloader_num_workers=4", "torch_compile=true",
            "attn_implementation=flash_attention_2",
        )
    ],
    Line(
        B,
        "teacher_reward:\n  _target_: RIM.reward_adapter.RIMReward\n"
        "  config_path: configs/rim_offline_config.yaml",
        reward_file,
    ),
    Line(
        B,
        "active_judges:\n  accuracy: false      # Disable for offline training\n"
        "  helpfulness: true    # Core reward signal\n"
        "  process: true        # Rewards good reasoning\n"
        "  diagnostic: false    # Disable for offline training",
        judges_file,
    ),
    *[
        Line(B, text, grpo_default)
        for text in (
            "num_generations: 32              # Samples per prompt",
            "max_new_tokens: 512             # Response length",
            "top_p: 0.95                     # Nucleus sampling",
            "warmup_ratio: 0.1               # LR warmup",
            "weight_decay: 0.01              # L2 regularization",
            "max_grad_norm: 1.0              # Gradient clipping",
            "gradient_accumulation_steps: 4   # Effective batch size",
        )
    ],
    Line(B, "ps aux | grep vllm", handled_elsewhere, "the system's own tool"),
    Line(B, "lsof -i :8000", handled_elsewhere, "the system's own tool"),
]  # fmt: skip


def name_of(line: Line) -> str:
    first = line.text.splitlines()[0]
    return f"{line.guide}: {first[:76]}" + (f" ({line.why})" if line.why else "")


@pytest.mark.parametrize("line", LINES, ids=name_of)
def test_a_line_of_the_guides(line: Line, shop: Workshop) -> None:
    line.check(line.text, shop)


def test_arc_atlas_exports_and_python_queries(shop: Workshop, fresh_db_url: str) -> None:
    """``arc-atlas --database-url postgresql://... --output traces.jsonl``; the first snippet."""
    write_sessions(fresh_db_url, [recorded(number) for number in range(1, 6)])
    line = "arc-atlas --database-url postgresql://... --output traces.jsonl --include-all-statuses"
    ran = shop.script(line.replace("postgresql://...", fresh_db_url))
    assert ran.error == ""
    assert len(Path("traces.jsonl").read_text().splitlines()) == 5
    snippet = """\
from atlas.training_data import get_training_sessions

# Query high-quality sessions directly
sessions = get_training_sessions(
    db_url="postgresql://atlas:atlas@localhost:5433/atlas",
    min_reward=0.8,
    status_filters=["succeeded"],
    limit=10000
)
"""
    names: dict[str, Any] = {}
    own = "postgresql://atlas:atlas@localhost:5433/atlas"
    exec(snippet.replace(own, fresh_db_url), names)
    assert len(names["sessions"]) == 5


def test_torchrun_starts_train_py_on_two_nodes(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``torchrun --nproc_per_node=8 --nnodes=2 … train.py configs/run/teacher_rcl.yaml``, planned:
    what torchrun gives its first process of sixteen."""
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    line = "train.py configs/run/teacher_rcl.yaml"
    at_80_gb()(f"{line} model_name_or_path={LLAMA}", shop)
    ran = shop.script(line, *SMALL_DATA, *H100, "--dry-run")
    assert ran.error == ""
    assert "prompts per step: 64 = per_device_train_batch_size 1" in ran.output
    assert "16 device(s), engine " in ran.output


def test_the_snippet_that_loads_the_trained_teacher(shop: Workshop) -> None:
    """The guide's validation, on the folders that its two trainings wrote."""
    snippet = """\
from transformers import AutoModelForCausalLM, AutoTokenizer
import torch

# Load your trained teacher
teacher = AutoModelForCausalLM.from_pretrained(
    "results/rl_checkpoint",
    torch_dtype=torch.float16,
    device_map="auto"
)
tokenizer = AutoTokenizer.from_pretrained("results/rl_checkpoint")

# Load baseline student
student = AutoModelForCausalLM.from_pretrained(
    "Qwen/Qwen3-4B-Instruct-2507",
    torch_dtype=torch.float16,
    device_map="auto"
)

# Test on a problem
problem = "A train travels 120 miles in 2 hours. What is its speed?"

# Get baseline (student only)
inputs = tokenizer(problem, return_tensors="pt").to(student.device)
baseline = student.generate(**inputs, max_new_tokens=100)
print(f"Baseline: {tokenizer.decode(baseline[0])}")
"""
    names: dict[str, Any] = {}
    exec(snippet.replace("Qwen/Qwen3-4B-Instruct-2507", "checkpoints/sft/final"), names)
    assert names["teacher"].dtype == torch.float16
    assert names["baseline"].shape[1] > names["inputs"]["input_ids"].shape[1]


@pytest.mark.parametrize(
    "path",
    [
        *("sft_checkpoint/pytorch_model.bin", "sft_checkpoint/config.json"),
        *("rl_checkpoint/pytorch_model.bin", "rl_checkpoint/config.json"),
        *("rl_checkpoint/trainer_state.json", "logs/train.log", "logs/tensorboard_events"),
    ],
)
def test_results_are_where_the_guide_shows_them(shop: Workshop, path: str) -> None:
    assert Path("results", path).exists()


# Guide A. Its commands train to the end in test_from_scratch.py.


def test_prepare_grpo_data_writes_both_files(shop: Workshop) -> None:
    """``python prepare_grpo_data.py``, with fewer prompts."""
    shop.script("python prepare_grpo_data.py", "--size", "30", "--validation-size", "8")
    for name in ("grpo_training.json", "validation.json"):
        assert json.loads(Path("data", name).read_text())


def test_train_config_json_is_the_guide_s(shop: Workshop) -> None:
    said = json.loads(
        '{"model_size": "1.1B", "learning_rate": 5e-6, "batch_size": 4, "epochs": 10, '
        '"grpo_preference_weight": 0.5}'
    )
    assert json.loads((ROOT / "train_config.json").read_text()) == said
    config = load_config(RankedConfig, ROOT / "train_config.json")
    assert (config.model_dir, config.epochs) == ("models/atlas_1.1B", 10)
    # "Total parameters: 1,102,345,728"
    assert f"{shape_of(config).num_parameters:,}" == "1,102,345,728"


def test_the_loss_of_guide_a_is_ours() -> None:
    snippet = """\
def grpo_loss(responses, rankings):
    # Compute log probabilities
    log_probs = model.compute_log_probs(responses)

    # Preference-weighted loss
    preferences = softmax(rankings * temperature)
    preference_loss = -(log_probs * preferences).sum()

    # Pairwise ranking loss
    pairwise_loss = compute_pairwise_ranking(log_probs, rankings)

    return preference_loss + 0.5 * pairwise_loss
"""
    log_probs = torch.tensor([-1.0, -0.5, -2.0], dtype=torch.float64)
    scores = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)

    class Model:
        def compute_log_probs(self, responses: object) -> torch.Tensor:
            return log_probs

    def pairwise(log_probs: torch.Tensor, rankings: torch.Tensor) -> torch.Tensor:
        pairs = [(i, j) for i in range(3) for j in range(3) if rankings[i] > rankings[j]]
        margins = torch.stack([log_probs[i] - log_probs[j] for i, j in pairs])
        return -torch.nn.functional.logsigmoid(margins).mean()

    names: dict[str, Any] = {
        "model": Model(),
        "softmax": lambda x: x.softmax(-1),
        "temperature": 0.7,
        "compute_pairwise_ranking": pairwise,
    }
    exec(snippet, names)
    expected = names["grpo_loss"](None, scores)
    ours = ranked_loss(
        log_probs.unsqueeze(0), scores.unsqueeze(0), torch.ones(1, 3).bool(), 1, sharpness=0.7
    )
    torch.testing.assert_close(ours.loss, expected, rtol=1e-6, atol=0)
