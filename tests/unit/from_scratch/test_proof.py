from __future__ import annotations

from collections.abc import Sequence

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atlas.data.ranked import RankedRecord
from atlas.from_scratch import proof as proving
from atlas.from_scratch.greedy import GreedyAnswer
from atlas.from_scratch.proof import AFTER, BEFORE, RANDOM, ProofSetup, measure
from atlas.from_scratch.training.batches import ranked_examples
from atlas.from_scratch.training.group_steps import Precision
from atlas.run.progress import Silent
from atlas.run.stopping import StopRequest
from atlas.types import Task

TASKS = [
    Task(question=f"Calculate {n} + 0.", answer=str(n), family="chain_sum", metadata={})
    for n in range(4)
]


class Noted(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.total, self.notes = 0, list[str]()

    def begin(self, total: int, done: int = 0) -> None:
        """Keep it."""
        self.total = total

    def advance(self, units: int = 1, note: str = "") -> None:
        """Keep it."""
        self.notes.append(note)


@pytest.fixture
def proof(tokenizer: PreTrainedTokenizerBase) -> ProofSetup:
    record = RankedRecord(prompt="1 + 1", responses=("2", "Answer: 3"), scores=(-1.0, -2.0))
    examples, _ = ranked_examples([record], tokenizer, max_length=100)
    return ProofSetup(
        examples=examples,
        tasks=TASKS,
        tokenizer=tokenizer,
        precision=Precision(autocast=False, max_tokens=64),
        max_new_tokens=4,
    )


def test_each_model_is_measured_and_the_gain_is_paired(
    model: PreTrainedModel, proof: ProofSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right before: tasks 0; right after: tasks 0, 1, 2. The gain is 2 of 4."""
    right = iter([[True, False, False, False], [True, True, True, False]])

    def answers(*_: object, **__: object) -> Sequence[GreedyAnswer]:
        return [GreedyAnswer(text="x", correct=correct, num_tokens=1) for correct in next(right)]

    monkeypatch.setattr(proving, "greedy_answers", answers)
    progress = Noted()
    measured = measure(
        {name: lambda: model for name in (RANDOM, BEFORE, AFTER)},
        proof,
        progress=progress,
        stop=StopRequest(),
    )
    found = measured.figures
    assert (progress.total, len(progress.notes)) == (3, 3)
    assert "random_verified" not in found
    assert found["random_ranking_accuracy"] == found["ranked_ranking_accuracy"]
    assert found["stage_0_verified"]["value"] == 0.25
    assert found["ranked_verified"]["value"] == 0.75
    # Wilson, 1 of 4: (0.25 + z²/8 ± z sqrt(0.25 · 0.75 / 4 + z²/64)) / (1 + z²/4), z = 1.959964
    assert found["stage_0_verified"]["low"] == pytest.approx(0.0456, abs=5e-5)
    assert found["stage_0_verified"]["high"] == pytest.approx(0.6994, abs=5e-5)
    assert found["verified_gain"]["value"] == 0.5
    assert found["verified_gain"]["low"] == 0.0
    assert measured.answers[1] == {
        "prompt": "Calculate 1 + 0.",
        "stage_0": {"text": "x", "correct": False},
        "ranked": {"text": "x", "correct": True},
    }


def test_without_tasks_only_ranks_are_measured(model: PreTrainedModel, proof: ProofSetup) -> None:
    ranks_only = ProofSetup(
        examples=proof.examples,
        tasks=[],
        tokenizer=proof.tokenizer,
        precision=proof.precision,
        max_new_tokens=4,
    )
    measured = measure({BEFORE: lambda: model}, ranks_only, progress=Silent(), stop=StopRequest())
    assert measured.answers == []
    assert set(measured.figures) == {
        "validation_prompts",
        "verified_prompts",
        "stage_0_ranking_accuracy",
        "stage_0_loss",
    }
