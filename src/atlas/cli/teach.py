"""``atlas teach``: one question, answered without and with a teacher."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.cli.options import command_app
from atlas.cli.terminal import say
from atlas.errors import AtlasError

if TYPE_CHECKING:
    from atlas.config.parts.student import StudentConfig
    from atlas.types import Utterance

DEFAULT_TEACHER = "results/rl_checkpoint"

_NOTHING = {
    "": "(nothing)",
    "unfinished_thoughts": "(nothing: its thoughts didn't end; raise --max-new-tokens)",
    "untagged": "(nothing: it wrote no whole tag of teaching_tag; --thoughts shows what it wrote)",
}

app = command_app()


@app.command()
def teach(
    question: Annotated[str, typer.Argument(help="What the student is asked")],
    overrides: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE",
            help="A student that is no model here, as in student=endpoint student_base_url=URL",
            default_factory=list,
            show_default=False,
        ),
    ],
    teacher: Annotated[
        str, typer.Option(help="Model folder or hub id of the teacher")
    ] = DEFAULT_TEACHER,
    student: Annotated[str, typer.Option(help="Model folder or hub id of the student")] = "base",
    prompts: Annotated[
        str, typer.Option(help="What both are asked: auto, plain, chat, small, or a folder")
    ] = "auto",
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Longest answer and longest teaching, thoughts included")
    ] = 128,
    review: Annotated[
        bool, typer.Option("--review", help="The teacher reads the answer, and certifies it or not")
    ] = False,
    thoughts: Annotated[
        bool, typer.Option("--thoughts", help="Print what both think, too")
    ] = False,
) -> None:
    """Print the student's answer alone, a teaching, and the answer with it."""
    from atlas.models.presence import refuse_missing
    from atlas.prompts.folder import AUTO, named_prompts

    if teacher == DEFAULT_TEACHER and not os.path.lexists(teacher):
        raise AtlasError(f"{teacher} isn't there; run make quickstart first, or name a teacher")
    elsewhere = _elsewhere(overrides)
    models = (teacher, student) if elsewhere is None else (teacher, elsewhere.student_here)
    for model in filter(None, models):
        refuse_missing(model)
    if prompts != AUTO:
        named_prompts(prompts)

    from atlas.environments.teaching.one_lesson import give_lesson

    lesson = give_lesson(
        question,
        teacher=teacher,
        student=student,
        max_new_tokens=max_new_tokens,
        prompts=prompts,
        elsewhere=elsewhere,
        teaching="review" if review else "plan",
    )
    if review:
        _show("student alone", lesson.alone, thoughts=thoughts)
        for one in lesson.reviews:
            verdict = "certified" if one.certified else "revise" if one.readable else "unreadable"
            say(lead="verdict", bold=True)
            say(f"  {verdict}")
            if one.tried_again:
                _show("guidance", lesson.teaching, thoughts=thoughts)
                _show("student's second attempt", lesson.attempt, thoughts=thoughts)
        return
    for title, said in (
        ("student alone", lesson.alone),
        ("student's approach", lesson.approach),
        ("teaching", lesson.teaching),
        ("student taught", lesson.attempt),
    ):
        _show(title, said, thoughts=thoughts)


def _show(title: str, said: Utterance, *, thoughts: bool) -> None:
    from atlas.environments.tools.acting import shown

    if thoughts and said.thoughts:
        say(lead=f"{title}: thoughts", bold=True)
        say(f"  {said.thoughts}")
    say(lead=title, bold=True)
    for turn in getattr(said, "turns", ())[:-1]:
        for line in shown(turn).splitlines():
            say(f"  {line}")
    missing = getattr(said, "abstained", "")
    say(f"  {said.text or (f'(nothing: {missing})' if missing else _NOTHING[said.withheld])}")


def _elsewhere(overrides: list[str]) -> StudentConfig | None:
    """Return the student that settings name; None where there are none.

    Raises:
        AtlasError: They contradict each other, or the key of an endpoint isn't there.
    """
    if not overrides:
        return None
    from atlas.config import EvaluateConfig, load_config
    from atlas.config.parts.student import refuse_unready

    given = load_config(EvaluateConfig, None, [*overrides, "teachers=[unused]"])
    refuse_unready(given)
    return given
