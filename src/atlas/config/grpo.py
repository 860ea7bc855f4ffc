"""Configuration of the reinforcement of the teacher (the GRPO stage)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal, Self

from atlas.config.grammar.schema import key, like
from atlas.config.parts.environments import check_environment
from atlas.config.parts.goals import TeachingGoalsConfig
from atlas.config.parts.loss import LossConfig
from atlas.config.parts.reward import RewardConfig
from atlas.config.parts.rollout_servers import RolloutConfig
from atlas.config.parts.sampling import SamplingConfig
from atlas.config.parts.student import StudentConfig
from atlas.config.train import TrainConfig
from atlas.errors import AtlasError

MOST_TOKENS = 16384
"""Of one forward pass, unless somebody says otherwise."""
_CHARS_PER_TOKEN = 3
"""Of what tools return, on the safe side."""


@dataclass(frozen=True, kw_only=True)
class GRPOConfig(
    TeachingGoalsConfig,
    LossConfig,
    SamplingConfig,
    RolloutConfig,
    RewardConfig,
    StudentConfig,
    TrainConfig,
):
    """The teacher is rewarded for what its teaching does to a frozen student.

    ``per_device_train_batch_size`` counts prompts here, each with its whole group of
    ``num_generations`` teachings, so that no group is ever split; memory is bounded by
    ``max_tokens_per_micro_batch``. The defaults are those of the guide.
    """

    job: Literal["grpo"] = key("grpo", "Which job the file is for.")
    output_dir: str = like(TrainConfig, "output_dir", "checkpoints/grpo")
    environment: str = key(
        "teaching",
        "What the policy meets. teaching: it teaches the student. solve: it answers tasks itself, "
        "rewarded by the verifier. Or your own, as my_module:MyEnvironment, which allow_targets on "
        "the command line must name, too.",
    )
    max_steps: int = key(500, "Optimiser steps, each on teachings sampled anew.", ge=1)
    learning_rate: float = like(
        TrainConfig,
        "learning_rate",
        5e-7,
        "Peak step size of AdamW. Lower when rewards collapse, higher when they don't move.",
    )

    # How much is sampled.
    num_generations: int = key(32, "Teachings per prompt, compared with one another.", ge=2)
    per_device_train_batch_size: int = key(
        1, "Prompts, each with all its teachings, in one pass on each device.", ge=1
    )
    gradient_accumulation_steps: int = like(TrainConfig, "gradient_accumulation_steps", 4)
    prompts_per_step: int = key(
        0,
        "Prompts per optimiser step. 0: per_device_train_batch_size × "
        "gradient_accumulation_steps × processes; otherwise gradient_accumulation_steps follows.",
        ge=0,
    )
    max_tokens_per_micro_batch: int | None = key(
        None,
        "Tokens in one forward pass of the update, prompts counted once a group. auto: 16384, or "
        "as many as the plan finds room for.",
        null="auto",
        ge=1,
    )
    num_iterations: int = key(
        1,
        "Optimiser steps on the same teachings. Above 1 the clips bind; sampling costs less.",
        ge=1,
    )

    # What it is worth in the end.
    evaluate_tasks: int = key(
        400,
        "Held-out tasks that the trained teacher is measured on when it is finished, and no more "
        "than the training worked through; 0: none. atlas evaluate RUN does it later.",
        ge=0,
    )

    # What is refused before the first step.
    length_probe_samples: int = key(
        32,
        "Teachings and attempts that are sampled before training, to see how many will be cut; "
        "0 for none.",
        ge=0,
    )
    max_clipped_share: float = key(
        0.5, "Training is refused when more of them than this are cut.", ge=0, le=1
    )

    def resolved(self, given: Collection[str], world_size: int) -> Self:
        """Bring prompts_per_step and gradient_accumulation_steps to agree."""
        check_environment(self.environment, self.allow_targets or ())
        if self.environment == "teaching" and self.student == "model" and not self.student_model:
            raise AtlasError(
                "student_model is missing; give it as student_model=… (the student, which stays "
                "frozen: a folder or a hub id)"
            )
        if self.environment == "solve" and self.has_tools:
            raise AtlasError(
                "tools are a student's, and environment=solve has none; leave them out"
            )
        if self.student != "model" and self.student_server_url:
            raise AtlasError(
                f"student_server_url and student={self.student} contradict each other; leave one "
                "of them out"
            )
        if self.overlong_buffer > self.max_new_tokens:
            raise AtlasError(
                f"overlong_buffer={self.overlong_buffer} is longer than a teaching can be "
                f"(max_new_tokens={self.max_new_tokens}); lower one or raise the other"
            )
        self = replace(self, keep_unverified=self._unverified())
        batch, steps = self.per_device_train_batch_size, self.gradient_accumulation_steps
        per_pass, wanted = batch * world_size, self.prompts_per_step
        if wanted == 0:
            return replace(self, prompts_per_step=per_pass * steps)
        accumulation, rest = divmod(wanted, per_pass)
        if rest:
            near = [str(n) for n in (wanted - rest, wanted - rest + per_pass) if n]
            raise AtlasError(
                f"prompts_per_step={wanted} doesn't divide into passes of "
                f"per_device_train_batch_size={batch} × {world_size} process(es); the nearest that "
                f"does: {' or '.join(near)}"
            )
        if accumulation != steps and "gradient_accumulation_steps" in given:
            raise AtlasError(
                f"prompts_per_step={wanted} and gradient_accumulation_steps={steps} contradict "
                f"each other ({per_pass} prompt(s) a pass); leave one of them out, or set "
                f"gradient_accumulation_steps={accumulation}"
            )
        return replace(self, gradient_accumulation_steps=accumulation)

    @property
    def tokens_of_a_pass(self) -> int:
        """Most tokens of one forward pass of the update."""
        return self.max_tokens_per_micro_batch or MOST_TOKENS

    @property
    def steps_of_the_end(self) -> float:
        """How many steps the measurement at the end takes about as long as.

        A task that is measured costs a teaching and two answers; a member of a group a teaching, an
        answer and its share of the update.
        """
        if self.environment != "teaching":
            return 0.0
        tasks = min(self.evaluate_tasks, self.max_steps * self.prompts_per_step)
        return tasks / (self.prompts_per_step * self.num_generations)

    @property
    def attempt_tokens(self) -> int:
        """Most tokens of an attempt, with what tools return."""
        turns = self.max_turns if self.has_tools else 1
        told = (turns - 1) * self.tool_max_chars // _CHARS_PER_TOKEN
        return turns * self.student_max_new_tokens + told

    @property
    def teaching_tokens(self) -> int:
        """Most tokens of a teaching, with what the teacher reads between its turns."""
        if self.teaching_at == "start":
            return self.max_new_tokens
        return self.max_turns * self.max_new_tokens + self.attempt_tokens

    def _unverified(self) -> bool | None:
        """Return whether tasks without a reference are kept: where the reward does without one."""
        judged = self.environment == "teaching" and self.reward == "rim_offline"
        own = self.environment not in ("teaching", "solve")
        if self.keep_unverified and not (judged or own):
            raise AtlasError(
                "keep_unverified=true needs a reward that does without a reference answer "
                f"(reward=rim_offline), but it is reward={self.reward}; leave it out"
            )
        sessions = self.data_source in ("runtime_traces", "runtime_pg")
        return (
            True if judged and sessions and self.keep_unverified is None else self.keep_unverified
        )


def computes_whole(config: GRPOConfig) -> bool:
    """Tell whether every process computes with the whole policy between updates.

    To sample from it; and where it has an adapter, since it is then its own reference.
    """
    return config.rollout_engine == "local" or (config.use_peft and bool(config.beta))
