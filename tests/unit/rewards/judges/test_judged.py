"""Judges as a scorer: what they are shown, and in which order they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atlas.rewards.judges.judged import judge_teachings
from atlas.types import Attempt, Lesson, Score, Task, Utterance


class Said:
    """A judgement of the length of a response."""

    def __init__(self, response: str) -> None:
        self._response = response

    def to_score(self) -> Score:
        return Score(value=len(self._response) / 10)


class Judges:
    """Remembers what it was asked."""

    asked: tuple[Sequence[str], Sequence[str], Sequence[Mapping[str, str]] | None]

    def evaluate_batch(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        contexts: Sequence[Mapping[str, str]] | None = None,
    ) -> list[Said]:
        self.asked = prompts, responses, contexts
        return [Said(response) for response in responses]


def test_judges_read_the_task_and_the_teaching_and_see_what_the_student_did() -> None:
    lessons = [
        Lesson(
            task=Task(question=f"Calculate {n} + 1.", answer="?", family="chain_sum"),
            approach=Utterance(text=f"approach {n}"),
            teaching=Utterance(text="x" * n),
            attempt=Attempt(text=f"attempt {n}"),
        )
        for n in (3, 1)
    ]
    judges = Judges()
    assert [score.value for score in judge_teachings(judges)(lessons)] == [0.3, 0.1]
    assert judges.asked == (
        ["Calculate 3 + 1.", "Calculate 1 + 1."],
        ["xxx", "x"],
        [
            {"approach": "approach 3", "attempt": "attempt 3"},
            {"approach": "approach 1", "attempt": "attempt 1"},
        ],
    )
