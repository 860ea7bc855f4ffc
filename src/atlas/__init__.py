"""Atlas trains language models that teach.

The names below are what a notebook or a program of one's own imports: ``from atlas import
give_lesson``. They stay when modules move, and each is loaded when it is first used, so that
``import atlas`` takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atlas.config import GRPOConfig, QuickstartConfig, SFTConfig, load_config
    from atlas.data.samples import Samples, TraceDataset
    from atlas.data.sft import Dialogue
    from atlas.environments.loading import load_actor, load_student
    from atlas.environments.teaching.one_lesson import give_lesson
    from atlas.errors import AtlasError, OutageError
    from atlas.report import write_report
    from atlas.rewards.judges.rim import RIMReward
    from atlas.rollouts.generator import Sampling
    from atlas.run.lineage import read_lineage
    from atlas.run.progress import Silent
    from atlas.run.run_dir import RunDir
    from atlas.run.stopping import StopRequest
    from atlas.serve.control import ControlClient
    from atlas.session import Session, Step
    from atlas.traces.embedded.server import EmbeddedPostgres
    from atlas.traces.jsonl import JsonlTraceStore, write_jsonl
    from atlas.traces.postgres.writing import write_sessions
    from atlas.traces.store import SessionQuery, TraceStore
    from atlas.training_data import (
        count_training_sessions,
        get_session_by_id,
        get_training_sessions,
        paginate_sessions,
    )
    from atlas.types import Completion, Score, Task

__version__ = "0.1.0"

PUBLIC = {
    "AtlasError": "atlas.errors",
    "OutageError": "atlas.errors",
    "Completion": "atlas.types",
    "Score": "atlas.types",
    "Task": "atlas.types",
    "Session": "atlas.session",
    "Step": "atlas.session",
    "GRPOConfig": "atlas.config",
    "QuickstartConfig": "atlas.config",
    "SFTConfig": "atlas.config",
    "load_config": "atlas.config",
    "count_training_sessions": "atlas.training_data",
    "get_session_by_id": "atlas.training_data",
    "get_training_sessions": "atlas.training_data",
    "paginate_sessions": "atlas.training_data",
    "SessionQuery": "atlas.traces.store",
    "TraceStore": "atlas.traces.store",
    "JsonlTraceStore": "atlas.traces.jsonl",
    "write_jsonl": "atlas.traces.jsonl",
    "EmbeddedPostgres": "atlas.traces.embedded.server",
    "write_sessions": "atlas.traces.postgres.writing",
    "read_lineage": "atlas.run.lineage",
    "Silent": "atlas.run.progress",
    "RunDir": "atlas.run.run_dir",
    "StopRequest": "atlas.run.stopping",
    "write_report": "atlas.report",
    "RIMReward": "atlas.rewards.judges.rim",
    "Sampling": "atlas.rollouts.generator",
    "Samples": "atlas.data.samples",
    "TraceDataset": "atlas.data.samples",
    "Dialogue": "atlas.data.sft",
    "load_student": "atlas.environments.loading",
    "load_actor": "atlas.environments.loading",
    "give_lesson": "atlas.environments.teaching.one_lesson",
    "ControlClient": "atlas.serve.control",
}
"""Name -> the module that it is in."""

__all__ = (
    "AtlasError",
    "Completion",
    "ControlClient",
    "Dialogue",
    "EmbeddedPostgres",
    "GRPOConfig",
    "JsonlTraceStore",
    "OutageError",
    "QuickstartConfig",
    "RIMReward",
    "RunDir",
    "SFTConfig",
    "Samples",
    "Sampling",
    "Score",
    "Session",
    "SessionQuery",
    "Silent",
    "Step",
    "StopRequest",
    "Task",
    "TraceDataset",
    "TraceStore",
    "count_training_sessions",
    "get_session_by_id",
    "get_training_sessions",
    "give_lesson",
    "load_actor",
    "load_config",
    "load_student",
    "paginate_sessions",
    "read_lineage",
    "write_jsonl",
    "write_report",
    "write_sessions",
)


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'atlas' has no attribute '{name}'")
    value = getattr(importlib.import_module(PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
