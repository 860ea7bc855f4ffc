"""Which engine a configuration names; those on servers are tested where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from tests.unit.tiny_models import tiny_model, tiny_tokenizer

from atlas.config.grpo import GRPOConfig
from atlas.config.parts.rollout_servers import RolloutEngine
from atlas.policy.engine import POLICY_ENGINES, PolicyParts, policy_engine
from atlas.rollouts.generator import Sampling


def test_every_value_of_the_key_has_an_engine() -> None:
    assert set(POLICY_ENGINES) == set(get_args(RolloutEngine))


def test_the_local_engine_stamps_what_it_samples_with_the_published_version() -> None:
    engine = policy_engine(
        PolicyParts(
            config=GRPOConfig(model_name_or_path="base", student_model="base"),
            model=tiny_model(vocab_size=len(tiny_tokenizer())),
            tokenizer=tiny_tokenizer(),
            sampling=Sampling(max_new_tokens=2),
            log=Path("unused"),
            say=lambda line: None,
        )
    )
    for version in (0, 3):
        assert engine.publish(version) == {}
        ((one,),) = engine.generator.generate([[5, 6]], Sampling(max_new_tokens=2))
        assert one.policy_version == version
    with engine.training():
        pass
    engine.close()
