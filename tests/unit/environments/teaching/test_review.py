"""Teaching by review, with engines that say what the test wants."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.unit.environments.scripted import Scripted, actor
from tests.unit.tiny_models import tiny_renderer

from atlas.data.sft import Dialogue, dialogue_of
from atlas.environments.rollout import roll_out
from atlas.environments.students.baselines import Baselines
from atlas.environments.students.model import ModelStudent
from atlas.environments.teaching.review import ReviewTeaching
from atlas.prompts.folder import shipped_prompts
from atlas.traces.record import sessions_from_lessons
from atlas.types import Lesson, Task

HARD = Task(question="Calculate 2 + 3 * 4.", answer="14", family="basic_arithmetic")
EASY = Task(question="Calculate 1 + 1 + 5.", answer="7", family="basic_arithmetic")


def student_says(prompt: str) -> str:
    """Right on the easy task; on the hard one when it is told to multiply first."""
    if "1 + 1 + 5" in prompt:
        return "I don't know" if "Teacher:" in prompt else "Answer: 7"
    _, told, guidance = prompt.partition("Teacher:")
    if "3 * 4" in guidance:
        return "Answer: 14"
    return "Answer: 24" if told else "Answer: 20"


def honest(prompt: str) -> str:
    """Certifies the right answers and helps with the others."""
    last = prompt.rpartition("Attempt:")[2]
    if "Answer: 7" in last or "Answer: 14" in last:
        return "Verdict: certified"
    return "Verdict: revise\nFirst 3 * 4, then 2 + that."


def lessons(tutor: Callable[[str], str], **settings: object) -> tuple[list[Lesson], Scripted]:
    pupil = Scripted(student_says)
    environment = ReviewTeaching(tiny_renderer(), Baselines(ModelStudent(actor(pupil))), **settings)
    groups = roll_out(environment, actor(Scripted(tutor)), [HARD, EASY], num_samples=2, seed=8)
    return [lesson for group in groups for lesson in group], pupil


def test_what_is_wrong_is_tried_again_and_what_is_right_stands() -> None:
    (hard, _, easy, _), pupil = lessons(honest)
    assert (hard.alone.text, hard.attempt.text) == ("Answer: 20", "Answer: 14")
    assert not hard.leaked
    (review,) = hard.reviews
    assert (review.attempt, review.certified, review.true) == (hard.alone, False, True)
    assert review.tried_again
    assert hard.teaching.text == review.guidance
    assert hard.score.parts["uplift"] == 1.0
    assert hard.score.weighted["verdict"] == 0.5
    assert easy.attempt == easy.alone
    assert easy.reviews[0].certified
    assert easy.teaching.text == ""
    assert easy.tried_after == 0
    assert (easy.score.parts["verdict"], easy.score.parts["uplift"]) == (1.0, 0.0)
    # Alone and approach of both tasks, and the hard one's second attempts: nothing is asked twice.
    assert [len(call.prompts) for call in pupil.calls] == [2, 2, 2]


def test_the_student_sees_its_attempt_and_the_teacher_never_the_reference() -> None:
    tutor = Scripted(honest)
    pupil = Scripted(student_says)
    environment = ReviewTeaching(tiny_renderer(), Baselines(ModelStudent(actor(pupil))))
    roll_out(environment, actor(tutor), [HARD], num_samples=2, seed=8)
    (prompt,) = tutor.calls[0].prompts
    asked = tiny_renderer().prompt("review", task=HARD.question, attempt="Answer: 20")
    assert list(prompt) == asked
    revised = tiny_renderer().prompt(
        "revise",
        task=HARD.question,
        teaching="First 3 * 4, then 2 + that. #0",
        attempt="Answer: 20",
    )
    assert list(pupil.calls[-1].prompts[0]) == revised


def test_a_false_verdict_costs_and_a_wrong_revision_costs_what_degrading_does() -> None:
    (certified, *_), _ = lessons(lambda prompt: "Verdict: certified")
    assert certified.score.parts["verdict"] == -1.0
    assert certified.attempt == certified.alone
    (*_, broken), _ = lessons(lambda prompt: "Verdict: revise\nThink again.")
    assert broken.score.parts["verdict"] == -1.0
    assert broken.score.parts["degraded"] == 1.0
    assert broken.score.value is not None
    assert broken.score.value <= -2.0


def test_an_unreadable_verdict_is_revise_and_is_counted() -> None:
    (hard, _, easy, _), _ = lessons(lambda prompt: "First 3 * 4.")
    for lesson in (hard, easy):
        assert lesson.score.parts["verdict_unreadable"] == 1.0
        assert not lesson.reviews[0].certified
        assert lesson.teaching.text.startswith("First 3 * 4.")
    assert hard.score.parts["verdict"] == 1.0
    assert easy.score.parts["verdict"] == -1.0


def test_a_leak_earns_nothing() -> None:
    (hard, *_), _ = lessons(lambda prompt: "Verdict: revise\n3 * 4 is 12. The answer is 14.")
    assert hard.leaked
    assert hard.score.weighted["verdict"] == 0.0
    assert hard.score.value is not None
    assert hard.score.value <= 0


def test_a_second_round_reads_the_second_attempt() -> None:
    def slow(prompt: str) -> str:
        if "24" in prompt.rpartition("Attempt:")[2]:
            return "Verdict: revise\nFirst 3 * 4."
        return honest(prompt).replace("First 3 * 4, then 2 + that.", "Look at the signs.")

    (hard, _, easy, _), _ = lessons(slow, max_rounds=2)
    assert [review.attempt.text for review in hard.reviews] == ["Answer: 20", "Answer: 24"]
    assert hard.attempt.text == "Answer: 14"
    assert len(hard.turns) == 2
    assert hard.replies[0].startswith("Attempt: Answer: 24")
    assert hard.tried_after == hard.reviews[1].attempt.num_tokens + hard.attempt.num_tokens
    assert len(easy.turns) == 1
    (once, *_), _ = lessons(slow, max_rounds=1)
    assert once.attempt.text == "Answer: 24"
    assert len(once.turns) == 1


def test_a_plan_comes_before_the_attempt_that_is_reviewed() -> None:
    def planning(prompt: str) -> str:
        if "Attempt:" in prompt:
            return honest(prompt)
        return "Look at the signs."

    (hard, *_), _ = lessons(planning, plans=True)
    assert hard.alone.text == "Answer: 20"
    assert hard.reviews[0].attempt.text == "Answer: 24"
    assert hard.attempt.text == "Answer: 14"
    assert hard.teaching.text.startswith("Look at the signs.")
    assert "First 3 * 4" in hard.teaching.text
    assert len(hard.turns) == 2


@pytest.mark.parametrize("share_right", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_judging_truly_earns_at_least_what_one_verdict_for_all_does(share_right: float) -> None:
    """Where guidance helps, or doesn't, as the student is right alone more or less often."""
    helps = "Verdict: revise\nFirst 3 * 4."
    idle = "Verdict: revise\nThink again."
    for guidance in (helps, idle):

        def true(prompt: str, guidance: str = guidance) -> str:
            right = "Answer: 7" in prompt.rpartition("Attempt:")[2]
            return "Verdict: certified" if right else guidance

        def mean(tutor: Callable[[str], str]) -> float:
            hard, _, easy, _ = (one.score.value or 0.0 for one in lessons(tutor)[0])
            return share_right * easy + (1 - share_right) * hard

        for one_verdict in ("Verdict: certified", guidance):
            assert mean(true) >= mean(lambda prompt, said=one_verdict: said)


def test_a_recorded_review_is_what_sft_learns_where_its_verdict_is_true() -> None:
    (hard, _, easy, _), _ = lessons(honest)
    sent_back, certified = sessions_from_lessons([hard, easy], learning_key="k")
    assert [attempt.evaluation.validation["valid"] for attempt in sent_back.steps[0].attempts] == [
        False,
        True,
    ]
    assert [note.note for note in sent_back.steps[0].guidance] == [hard.reviews[0].guidance]
    assert certified.steps[0].guidance == ()
    assert certified.adaptive_summary.certification_run
    for session, lesson in ((sent_back, hard), (certified, easy)):
        dialogue = dialogue_of(session)
        assert isinstance(dialogue, Dialogue)
        (asked, said) = dialogue.in_words(shipped_prompts("plain"))
        assert f"Attempt: {lesson.alone.text}" in asked["content"]
        assert said["content"] == lesson.turns[0].text
    (wrong, *_), _ = lessons(lambda prompt: "Verdict: certified")
    (session,) = sessions_from_lessons([wrong], learning_key="k")
    assert dialogue_of(session) == "sessions with a verdict that isn't true"


def test_a_plan_and_its_review_are_one_dialogue() -> None:
    def planning(prompt: str) -> str:
        return honest(prompt) if "Attempt:" in prompt else "Look at the signs."

    (hard, *_), _ = lessons(planning, plans=True)
    (session,) = sessions_from_lessons([hard], learning_key="k")
    dialogue = dialogue_of(session)
    assert isinstance(dialogue, Dialogue)
    first, plan, second, verdict = dialogue.in_words(shipped_prompts("plain"))
    assert first["content"].startswith("Task:")
    assert plan["content"].startswith("Look at the signs.")
    assert second["content"].startswith("Attempt: Answer: 24")
    assert verdict["content"].startswith("Verdict: revise")
