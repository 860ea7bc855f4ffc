"""Configuration of the main job at small size (``atlas quickstart``): five stages, one file.

Keys of the two training stages carry their name (``sft_learning_rate``, ``grpo_learning_rate``);
``section`` makes the stage's own configuration from them. A new key is one line here, ``like``
the key of the job it sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atlas.config.grammar.schema import key, like
from atlas.config.grpo import GRPOConfig
from atlas.config.parts.loss import AdvantageScale
from atlas.config.parts.optim import MatmulPrecision
from atlas.config.parts.rollout_servers import RolloutEngine
from atlas.config.parts.run import RunConfig
from atlas.config.sft import SFTConfig


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig(RunConfig):
    """Collect traces, warm the teacher up, reinforce it, evaluate, report."""

    job: Literal["quickstart"] = key("quickstart", "Which job the file is for.")
    output_dir: str = like(RunConfig, "output_dir", "runs/quickstart")
    families: tuple[str, ...] = key(
        ("chain_sum", "leg_counting"), "Task families of reasoning-gym, or word problems of ours."
    )
    prompts: str = like(GRPOConfig, "prompts", "auto")
    answer_format: str = like(GRPOConfig, "answer_format", "auto")

    model_name_or_path: str = key(
        "base", "The student, and what the teacher starts from; base is the one that ships."
    )
    use_peft: bool = like(GRPOConfig, "use_peft", False)
    lora_r: int = like(GRPOConfig, "lora_r", 16)
    lora_alpha: int = like(GRPOConfig, "lora_alpha", 32)
    results_dir: str = key("results", "Where links with the guide's names point into the run.")

    collect_tasks: int = key(600, "Tasks whose dual-agent session is recorded as a trace.", ge=1)
    collect_prompts: str | None = key(
        None, "What the untrained teacher and the student are asked; null: as in prompts."
    )
    collect_temperature: float = key(
        1.0, "Of the untrained teacher's sampling; its traces should be good and bad.", gt=0
    )

    sft_learning_rate: float = like(SFTConfig, "learning_rate", 3e-4)
    sft_num_train_epochs: float = like(SFTConfig, "num_train_epochs", 1.0)
    sft_per_device_train_batch_size: int = like(SFTConfig, "per_device_train_batch_size", 32)
    sft_gradient_accumulation_steps: int = like(SFTConfig, "gradient_accumulation_steps", 1)
    sft_max_seq_length: int = like(SFTConfig, "max_seq_length", 256)
    sft_min_reward: float = like(SFTConfig, "min_reward", 0.8)

    grpo_max_steps: int = like(GRPOConfig, "max_steps", 120)
    grpo_learning_rate: float = like(GRPOConfig, "learning_rate", 5e-4)
    grpo_beta: float = like(GRPOConfig, "beta", 0.04)
    grpo_num_generations: int = like(GRPOConfig, "num_generations", 8)
    grpo_per_device_train_batch_size: int = like(GRPOConfig, "per_device_train_batch_size", 16)
    grpo_gradient_accumulation_steps: int = like(GRPOConfig, "gradient_accumulation_steps", 1)
    grpo_temperature: float = like(GRPOConfig, "temperature", 0.7)
    grpo_top_p: float = like(GRPOConfig, "top_p", 0.95)
    grpo_scale_rewards: AdvantageScale = like(GRPOConfig, "scale_rewards", "group")
    grpo_advantage_epsilon: float = like(GRPOConfig, "advantage_epsilon", 0.2)
    grpo_save_steps: int = like(GRPOConfig, "save_steps", 20)
    grpo_canary_tasks: int = like(GRPOConfig, "canary_tasks", 32)
    grpo_canary_steps: int = like(GRPOConfig, "canary_steps", 20)

    rollout_engine: RolloutEngine = like(GRPOConfig, "rollout_engine", "local")
    vllm_server_url: tuple[str, ...] | None = like(GRPOConfig, "vllm_server_url", None)
    student_server_url: tuple[str, ...] | None = like(GRPOConfig, "student_server_url", None)
    async_rollouts: int = like(GRPOConfig, "async_rollouts", 0)

    max_new_tokens: int = like(GRPOConfig, "max_new_tokens", 64)
    student_max_new_tokens: int = like(GRPOConfig, "student_max_new_tokens", 192)

    approach_max_new_tokens: int = like(GRPOConfig, "approach_max_new_tokens", 32)
    float32_matmul_precision: MatmulPrecision = like(GRPOConfig, "float32_matmul_precision", "auto")

    eval_tasks: int = key(400, "Held-out tasks that every arm is measured on.", ge=1)
    eval_temperature: float | None = key(
        None, "Of the teachers there; 0: they are greedy. null: that of the training.", ge=0
    )
