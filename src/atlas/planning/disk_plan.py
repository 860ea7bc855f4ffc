"""What a training will write: arithmetic, before anything is written.

    final/         the model's weights; twice where ``pytorch_model.bin`` is wanted (results_dir)
    checkpoints/   of each: what is trained, with two moments of AdamW; as many as are kept, and the
                   one that is being written; the best model, where SFT keeps it
    rollouts/      a row a teaching, two bytes a token after compression; of the tokens that were
                   sampled, which can be replayed, their ids and log-probabilities

It is an estimate from above: texts are taken to be as long as they may be.
"""

from __future__ import annotations

from collections.abc import Mapping

from atlas.config.grpo import GRPOConfig
from atlas.config.sft import SFTConfig
from atlas.planning.memory_plan import ModelShape, Setup

_FULL = 4
"""Bytes of a number in float32."""
_A_TOKEN = 2
_SAMPLED = 10
"""Bytes of a token's id and its log-probability, which hardly gets smaller."""
_REST = 50_000_000
"""Logs, events of TensorBoard, tokenizers."""


def disk_plan(config: SFTConfig | GRPOConfig, shape: ModelShape) -> Mapping[str, int]:
    """Return the bytes that a training writes, by what they are for.

    Args:
        shape: Of the model that is trained.
    """
    setup = Setup(shape=shape, tokens=0, lora_rank=config.lora_r if config.use_peft else 0)
    model = _FULL * shape.num_parameters
    kept = config.save_total_limit + 1 if config.save_steps else 1
    parts = {
        "final/": model * (2 if config.results_dir is not None else 1),
        "checkpoints/": kept * 3 * _FULL * setup.trained,
        "logs": _REST,
    }
    if isinstance(config, SFTConfig):
        if config.load_best_model_at_end and config.eval_split_ratio:
            parts["checkpoints/best"] = model
        return parts
    teachings = config.max_steps * config.prompts_per_step * config.num_generations
    longest = config.teaching_tokens + config.attempt_tokens
    rollouts = teachings * (longest * _A_TOKEN + config.teaching_tokens * _SAMPLED)
    return {**parts, "rollouts/": rollouts}
