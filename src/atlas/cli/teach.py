"""``atlas teach``: one question, answered without and with a teacher."""

from __future__ import annotations

from atlas.cli.terminal import console
from atlas.environments.teaching.one_lesson import give_lesson
from atlas.types import Lesson


def run(question: str, *, teacher: str, student: str) -> None:
    """Run the command."""
    lesson = give_lesson(question, teacher=teacher, student=student)
    show(lesson)


def show(lesson: Lesson) -> None:
    """Print a lesson."""
    for title, text in (
        ("student alone", lesson.alone.text),
        ("student's approach", lesson.approach.text),
        ("teaching", lesson.teaching.text),
        ("student taught", lesson.attempt.text),
    ):
        console.print(f"[bold]{title}[/bold]")
        console.print(f"  {text or '(nothing)'}", markup=False, soft_wrap=True)
