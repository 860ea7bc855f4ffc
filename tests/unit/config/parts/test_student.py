"""Students of every kind: which keys belong together, and what follows from them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atlas.config import EvaluateConfig, GRPOConfig, load_config
from atlas.config.parts.student import DECISIVE, PACE
from atlas.errors import AtlasError
from atlas.run.config_file import CHANGEABLE

URL = "student_base_url=https://me:secret@h/v1"


def evaluated(*words: str) -> EvaluateConfig:
    return load_config(EvaluateConfig, None, ["teachers=[t]", *words])


def test_the_model_that_lies_here_is_the_student_of_no_endpoint() -> None:
    assert evaluated().student_here == "base"
    config = evaluated("student=endpoint", URL)
    assert (config.student_here, config.student_model) == (None, None)
    assert config.student_name == "the model at https://me:***@h/v1"
    named = evaluated("student=endpoint", URL, "student_model=base")
    assert (named.student_here, named.student_endpoint.model) == (None, "base")


def test_its_keys_are_those_of_an_endpoint_and_of_limits() -> None:
    words = ("student_concurrency=3", "student_max_calls=7", "student_deadline_s=5")
    config = evaluated("student=endpoint", URL, *words)
    assert (config.student_endpoint.concurrency, config.student_endpoint.deadline_s) == (3, 5.0)
    assert config.student_endpoint.base_url == URL.partition("=")[2]
    assert config.student_limits.max_calls == 7
    assert config.student_limits.cache_path == "runs/student_cache.sqlite"


def test_a_run_may_go_on_at_another_pace_and_not_with_another_student() -> None:
    assert PACE <= CHANGEABLE
    assert not DECISIVE & CHANGEABLE
    assert {"student_base_url", "student_api_key_env", "student_max_cost"} <= PACE


def test_the_key_itself_is_refused_and_not_repeated() -> None:
    with pytest.raises(AtlasError, match="student_api_key_env must be the name of") as caught:
        evaluated("student=endpoint", URL, "student_api_key_env=sk-1234567890")
    assert "1234567890" not in str(caught.value)


def test_a_server_of_a_model_here_and_a_student_elsewhere_contradict_each_other() -> None:
    words = ["model_name_or_path=base", "student=endpoint", URL]
    servers = "student_server_url=[http://h:1]"
    with pytest.raises(AtlasError, match="student_server_url and student=endpoint contradict"):
        load_config(GRPOConfig, "teacher_rcl", [*words, servers])


def test_without_resolving_nothing_is_filled_in() -> None:
    assert replace(evaluated(), student="agent").student_here is None
