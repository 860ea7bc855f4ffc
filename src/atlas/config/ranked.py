"""Configuration of a model from random weights (guide A: ``train_atlas.py``)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from atlas.config.grammar.schema import key, like
from atlas.config.parts.goals import LossGoalsConfig
from atlas.config.parts.optim import LrSchedulerType, OptimConfig
from atlas.config.parts.record import RecordConfig
from atlas.config.parts.run import RunConfig
from atlas.errors import AtlasError

ModelSize = Literal["nano", "micro", "small", "125M", "350M", "1.1B"]
TrainPrecision = Literal["auto", "float32", "bf16", "bf16_weights"]
LogpReduction = Literal["mean", "sum"]
Stage = Literal["tokenizer", "pretrain", "ranked"]

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class RankedConfig(LossGoalsConfig, RunConfig):
    """A language model from random weights: tokenizer, language, then ranked responses.

    The keys of the guide's ``train_config.json`` have its defaults.
    """

    job: Literal["ranked"] = key("ranked", "Which job the file is for.")
    output_dir: str = like(
        RunConfig,
        "output_dir",
        AUTO,
        "Run directory: log, metrics, checkpoints; auto: runs/atlas_<model_size>.",
    )
    model_dir: str = key(AUTO, "Where the trained model is saved; auto: models/atlas_<model_size>.")
    log_dir: str = key("logs", "Where training.log and tensorboard of the run are found.")
    logging_steps: int = like(RunConfig, "logging_steps", 10)

    # The model.
    model_size: ModelSize = key("1.1B", "Shape of the model. Smaller when memory runs out.")
    vocab_size: int = key(
        0, "Entries of the tokenizer that is trained; 0: as many as the size has room for.", ge=0
    )
    tokenizer: str = key(
        AUTO, "auto trains one on the corpus; or a folder or hub id with a chat template."
    )
    model_name_or_path: str | None = key(
        None, "Start from this model and its tokenizer instead of random weights."
    )

    # The data.
    train_data: str = key("data/grpo_training.json", "Prompts with ranked responses.")
    validation_data: str = key("data/validation.json", "The same, never learned from.")
    corpus: str | None = key(
        None,
        "A text file, or a folder of them, for tokenizer and pre-training; null: the prompts and "
        "responses of the training data.",
    )
    max_seq_length: int = key(
        512, "Longest prompt with its response, in tokens; longer responses are left out.", ge=16
    )

    # Which stages run, and the first of them.
    stages: tuple[Stage, ...] = key(
        ("tokenizer", "pretrain", "ranked"), "What is done; each stage can run alone."
    )
    pretrain_learning_rate: float = key(
        2e-3, "Peak rate of the pre-training; the ranked stage has its own.", gt=0
    )
    pretrain_epochs: float = key(4.0, "Passes of the pre-training over its corpus.", gt=0)
    pretrain_tokens_per_step: int = key(
        4096, "Tokens of one step of the pre-training, each prompt counted once.", ge=64
    )

    # The ranked stage.
    learning_rate: float = like(
        OptimConfig, "learning_rate", 5e-6, "Peak rate of the ranked stage. Small models need more."
    )
    batch_size: int = key(4, "Prompts, each with all its responses, in one step.", ge=1)
    epochs: float = key(10.0, "Passes of the ranked stage over the training data.", gt=0)
    grpo_preference_weight: float = key(
        0.5, "Weight of the pairwise term of the loss (the 0.5 of the guide's formula).", ge=0
    )
    likelihood_weight: float = key(
        1.0, "Weight of the preference-weighted likelihood, the formula's first term.", ge=0
    )
    sharpness: float = key(
        1.0, "How much more a rank counts than the next in the first term; 0: all alike.", ge=0
    )
    logp_reduction: LogpReduction = key(
        "mean", "A response's log-probability: mean over its tokens, or their sum."
    )

    # Both stages.
    precision: TrainPrecision = key(
        AUTO,
        "float32; bf16 computes in bfloat16 and keeps float32 weights; bf16_weights keeps weights "
        "and states in bfloat16 too, rounded stochastically; auto: the first that fits.",
    )
    gradient_checkpointing: bool | None = key(
        None,
        "Compute activations again in the backward pass: less memory, about a third slower; null: "
        "only where it doesn't fit otherwise.",
    )
    max_tokens_per_micro_batch: int = key(
        0, "Tokens in one forward pass; 0: as many as fit, at most 8,192.", ge=0
    )
    lr_scheduler_type: LrSchedulerType = like(OptimConfig, "lr_scheduler_type", "cosine")
    warmup_ratio: float = like(OptimConfig, "warmup_ratio", 0.05)
    weight_decay: float = like(OptimConfig, "weight_decay", 0.05)
    max_grad_norm: float = like(OptimConfig, "max_grad_norm", 1.0)
    save_every: int = key(1000, "Steps between two checkpoints to resume from.", ge=1)
    save_total_limit: int = like(RecordConfig, "save_total_limit", 1)
    max_steps: int = key(0, "Steps of the ranked stage at most; 0: epochs decide.", ge=0)

    # The proof.
    eval_prompts: int = key(
        400, "Validation prompts that are answered greedily and verified, at most.", ge=1
    )
    eval_max_new_tokens: int = key(128, "Longest such answer, in tokens.", ge=1)
    memory_limit_gb: float = key(
        0.0, "Refuse to start above this; 0: what the GPU, or the machine, has free.", ge=0
    )

    def resolved(self, given: Collection[str], world_size: int) -> Self:
        """Name the folders, and refuse one that two models would share."""
        del given, world_size
        name, start = f"atlas_{self.model_size}", self.model_name_or_path
        output_dir = f"runs/{name}" if self.output_dir == AUTO else self.output_dir
        model_dir = f"models/{name}" if self.model_dir == AUTO else self.model_dir
        if start is not None and Path(start).absolute() == Path(model_dir).absolute():
            raise AtlasError(
                f"model_name_or_path and model_dir are both {model_dir}: the result would take the "
                "place of what it began with; give another model_dir"
            )
        return replace(self, output_dir=output_dir, model_dir=model_dir)
