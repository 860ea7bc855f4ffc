"""The contract of all rollout engines, on the one in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.rollout_contract import CONTRACT, Subject, contract_model
from tests.unit.tiny_models import tiny_tokenizer

from atlas.rollouts.local import LocalGenerator


@pytest.fixture(scope="module")
def subject() -> Subject:
    model = contract_model()
    engine = LocalGenerator(model, tiny_tokenizer(), policy_version=4)
    return Subject(engine=engine, model=model, version=4)


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_the_engine_in_this_process(check: Callable[[Subject], None], subject: Subject) -> None:
    check(subject)
