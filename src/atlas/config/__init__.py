"""Configuration: YAML and the command line in, frozen dataclasses out. Imports no torch."""

from __future__ import annotations

from atlas.config.base_model import BaseModelConfig
from atlas.config.collect import CollectConfig
from atlas.config.evaluate import EvaluateConfig
from atlas.config.grammar.compose import compose_config, load_config
from atlas.config.grammar.schema import KeyInfo, Part, keys_of
from atlas.config.grpo import GRPOConfig
from atlas.config.parts.run import RunConfig
from atlas.config.quickstart import QuickstartConfig
from atlas.config.ranked import RankedConfig
from atlas.config.resolve import explain, resolve, section, to_yaml
from atlas.config.sft import SFTConfig

JOBS: dict[str, type[RunConfig]] = {
    "sft": SFTConfig,
    "grpo": GRPOConfig,
    "quickstart": QuickstartConfig,
    "base_model": BaseModelConfig,
    "collect": CollectConfig,
    "evaluate": EvaluateConfig,
    "ranked": RankedConfig,
}
"""The configuration of each job, by the value of its key ``job``."""
