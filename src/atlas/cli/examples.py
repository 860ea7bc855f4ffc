"""What the help of a command ends with: commands to copy, and the keys that are set most.

``tests/unit/cli/test_examples.py`` holds both against what there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "init": ("atlas init",),
    "keys": ("atlas keys grpo", "atlas keys sft rate", "atlas keys grpo --json"),
    "quickstart": (
        "atlas quickstart",
        "atlas quickstart real",
        "atlas quickstart seed=1 output_dir=runs/seed1",
    ),
    "runs": ("atlas runs", "atlas runs checkpoints --json"),
    "resume": ("atlas resume runs/quickstart",),
    "collect": (
        "atlas collect families=chain_sum num_tasks=100",
        "atlas collect tasks=tasks.jsonl student_model=FOLDER",
    ),
    "sft": (
        "atlas sft teacher_sft data=runtime_traces export_path=t.jsonl model_name_or_path=base",
        "atlas sft teacher_sft model=qwen3_8b use_peft=true --dry-run",
    ),
    "grpo": (
        "atlas grpo teacher_rcl model_name_or_path=checkpoints/sft/final",
        "atlas grpo teacher_rcl model=qwen3_8b rollout_engine=vllm --dry-run",
    ),
    "evaluate": (
        "atlas evaluate checkpoints/sft/final checkpoints/grpo/final",
        "atlas evaluate checkpoints/grpo",
    ),
    "claims": ("atlas claims runs/quickstart --json",),
    "teach": ('atlas teach "Calculate 7 - 3 + 5."',),
    "report": ("atlas report runs/quickstart", "atlas report runs/seed0 runs/seed1"),
    "watch": ("atlas watch", "atlas watch runs/quickstart"),
    "doctor": ("atlas doctor", "atlas doctor checkpoints/grpo"),
    "why": ("atlas why checkpoints/grpo 12 3",),
    "diff": ("atlas diff runs/seed0 runs/seed1",),
    "replay": ("atlas replay checkpoints/grpo 12",),
    "train": ("atlas train teacher_sft model_name_or_path=base --dry-run",),
    "launch": ("atlas launch 4 teacher_sft output_dir=checkpoints/sft",),
    "serve": ("atlas serve --model checkpoints/grpo/final --port 8000",),
    "launch-with-server": (
        "atlas launch-with-server 2 2 teacher_rcl model_name_or_path=checkpoints/sft/final",
    ),
    "export": (
        "atlas export --database-url runs/quickstart --output t.jsonl",
        "atlas export checkpoints/grpo/final --format gguf --output teacher.gguf",
    ),
    "push": ("atlas push results/rl_checkpoint my-name/my-teacher",),
    "review": ("atlas review list --limit 10", "atlas review quarantine 7 --notes wrong"),
    "lineage": ("atlas lineage results/rl_checkpoint --check",),
    "prepare-data": ("atlas prepare-data",),
    "ranked": ("atlas ranked --config train_config.json",),
    "ask": ('atlas ask models/atlas_1.1B "Calculate 7 - 3 + 5."',),
    "selftest": ("atlas selftest",),
    "base-model": ("atlas base-model max_steps=50",),
}
"""By command."""

FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "quickstart": ("quickstart", "quickstart_real"),
    "collect": ("collect",),
    "sft": ("teacher_sft",),
    "grpo": ("teacher_rcl",),
    "evaluate": ("evaluate",),
    "base-model": ("base_model",),
}
"""By command: the files of configs/run that it can start from."""

MAIN_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "quickstart": ("seed", "output_dir", "families", "model_name_or_path", "grpo_max_steps"),
    "collect": ("families", "tasks", "num_tasks", "teacher_model", "student", "student_model"),
    "sft": (
        *("model_name_or_path", "export_path", "dataset_path", "output_dir", "learning_rate"),
        *("num_train_epochs", "per_device_train_batch_size", "use_peft", "max_seq_length"),
    ),
    "grpo": (
        *("model_name_or_path", "student", "student_model", "export_path", "output_dir"),
        *("max_steps", "learning_rate", "beta", "num_generations", "max_new_tokens", "reward"),
        *("rollout_engine", "use_peft"),
    ),
    "evaluate": ("teachers", "student", "student_model", "families", "tasks", "output_dir"),
    "base-model": ("max_steps", "output_dir"),
}
"""By command: the keys that are set most."""


def epilog(command: str) -> str:
    """Return what a command's help ends with; click leaves paragraphs after ``\\b`` as they are."""
    parts = ["\b\nExamples:\n" + "\n".join(f"  {line}" for line in EXAMPLES[command])]
    if command in FILES:
        parts.append(f"Files of configs/run for it: {', '.join(FILES[command])}.")
    if command in MAIN_KEYS:
        job = command.replace("-", "_")
        keys = ", ".join(MAIN_KEYS[command])
        parts += [f"Keys that are set most: {keys}.", f"All of them: atlas keys {job}"]
    return "\n\n".join(parts)
