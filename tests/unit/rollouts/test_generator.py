"""The contract of all rollout engines, on the one in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from tests.rollout_contract import CONTRACT, Subject, contract_model
from tests.unit.tiny_models import tiny_tokenizer

from atlas.models.passes.forward import prepare_forward
from atlas.rollouts.local import decoder_choice
from atlas.rollouts.local.engine import LocalGenerator


@pytest.fixture(scope="module")
def subject() -> Subject:
    model = contract_model()
    engine = LocalGenerator(model, tiny_tokenizer(), policy_version=4)
    return Subject(engine=engine, model=model, version=4)


@pytest.fixture(scope="module", params=["from its weights", "through its own forward"])
def in_bf16(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """The engine where training computes in bfloat16."""
    model = contract_model()
    prepare_forward(model)
    engine = LocalGenerator(model, tiny_tokenizer(), policy_version=4, dtype=torch.bfloat16)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "through its own forward":
            patch.setattr(decoder_choice, "unfit", lambda *_: "a test says so")
        yield Subject(engine=engine, model=model, version=4, autocast=True)


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_the_engine_in_this_process(check: Callable[[Subject], None], subject: Subject) -> None:
    check(subject)


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_the_same_in_bfloat16(check: Callable[[Subject], None], in_bf16: Subject) -> None:
    check(in_bf16)
