"""What a model reads, as token ids."""

from __future__ import annotations

from tests.unit.tiny_models import tiny_renderer


def test_the_assistants_turn_is_opened() -> None:
    renderer = tiny_renderer()
    ids = renderer.prompt("teaching", task="Calculate 1 + 2.", approach="I add.")
    assert renderer.tokenizer.decode(ids) == (
        "<|user|>Task: Calculate 1 + 2.\nStudent: I add.\n"
        "Write a plan for the student, without the answer.<|end|><|assistant|>"
    )
