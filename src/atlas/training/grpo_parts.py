"""What takes part in a training by GRPO: policy, reference, environment, engine, loaded once.

Input: a context and where the run goes on from. Output: a `Training`, all that a step needs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from atlas.config.grpo import GRPOConfig, computes_whole
from atlas.environments.actor import Actor
from atlas.environments.environment import Context, Environment, load_environment
from atlas.environments.loading import window_of
from atlas.machine.precision import training_device, trains_in_bf16
from atlas.models.checkpoints import load_model
from atlas.models.passes.forward import prepare_forward
from atlas.models.passes.reference import Adapted
from atlas.models.policy import Policy, load_policy
from atlas.models.rounding import round_products
from atlas.models.whole import adapter_base
from atlas.parallel.distributed import Ranks
from atlas.parallel.engine.choice import engine_for, frozen_for, loading_device
from atlas.parallel.engine.protocol import Engine
from atlas.parallel.engine.runner import Runner
from atlas.policy.engine import PolicyEngine, PolicyParts, policy_engine
from atlas.rollouts.generator import Sampling
from atlas.run.run_dir import RunDir
from atlas.types import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """Everything that a step needs."""

    run: RunDir
    config: GRPOConfig
    ranks: Ranks
    engine: Engine
    reference: PreTrainedModel | Runner | None
    environment: Environment[Any]
    actor: Actor
    policy: PolicyEngine
    tasks: Sequence[Task]
    canary: Sequence[Task]
    autocast: bool
    """The update computes in bfloat16 where that is safe."""
    final: Mapping[str, Any]
    """How the trained model is saved."""


def load_training(
    held: contextlib.ExitStack,
    context: Context,
    checkpoint: Path | None,
    tasks: Sequence[Task],
    canary: Sequence[Task],
) -> Training:
    """Load all that takes part; ``held`` stops judges, and servers that were started here."""
    config, ranks = context.config, context.ranks
    environment = load_environment(context)
    held.enter_context(contextlib.closing(environment))
    dressed = policy_of(config, checkpoint, ranks)
    model, sampling = dressed.model, Sampling.of(config)
    policy = policy_engine(
        PolicyParts(
            config=config,
            model=model,
            tokenizer=context.tokenizer,
            sampling=sampling,
            log=context.run.path / "server.log",
            say=context.say,
            ranks=ranks,
        )
    )
    held.enter_context(contextlib.closing(policy))
    engine = grpo_engine(model, config, ranks, context.say)
    for line in dressed.lines:
        context.say(line)
    return Training(
        run=context.run,
        config=config,
        ranks=ranks,
        engine=engine,
        reference=reference_of(config, model, ranks),
        environment=environment,
        actor=Actor(
            generator=policy.generator,
            renderer=context.renderer,
            sampling=sampling,
            window=window_of(engine.model),
        ),
        policy=policy,
        tasks=tasks,
        canary=canary,
        autocast=dressed.autocast,
        final=dressed.final,
    )


def policy_of(config: GRPOConfig, checkpoint: Path | None, ranks: Ranks) -> Policy:
    """Return the policy as this rank loads it, whose weights rank 0 gives to all."""
    device = loading_device(config, ranks.size, main=ranks.is_main, whole=computes_whole(config))
    return load_policy(config, checkpoint, device=device)


def grpo_engine(
    model: PreTrainedModel, config: GRPOConfig, ranks: Ranks, say: Callable[[str], None]
) -> Engine:
    """Return the engine that trains the policy."""
    return engine_for(
        model,
        config,
        total_steps=config.max_steps * config.num_iterations,
        ranks=ranks,
        whole=computes_whole(config),
        ready=prepare_forward,
        say=say,
    )


def reference_of(
    config: GRPOConfig, model: PreTrainedModel, ranks: Ranks
) -> PreTrainedModel | Runner | None:
    """Return what the KL is measured to; None with beta 0.

    Where FSDP shares out what is trained, it is shared out too, and computed alike.
    """
    if not config.beta:
        return None
    # With its adapter switched off, the policy itself is what it started from, if that was new.
    if isinstance(model, Adapted) and adapter_base(config.model_name_or_path) is None:
        return model
    load = partial(load_model, config.model_name_or_path)

    def as_the_policy(reference: PreTrainedModel, found: Any = None) -> Any:
        return prepare_forward(reference, found or prepare_forward(model))

    shared = frozen_for(
        lambda to, dtype: load(device=to, dtype=dtype), config, ranks, as_the_policy
    )
    if shared is not None:
        return shared
    own = load(device=training_device()).requires_grad_(False)
    prepare_forward(own)  # in float32, where a difference shows
    return round_products(own) if trains_in_bf16(config) else own
