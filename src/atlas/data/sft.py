"""Sessions to SFT examples: the teacher's prompts and the teachings that it gave.

Input: recorded sessions. Output: one `Dialogue` a session, and from dialogues `Tokens`. What the
teacher was asked is put into words only then, by the prompts of the training. Drawn, for a session
of three steps of which the second was not taught (``#`` is in the loss)::

    <|user|> the teaching prompt: task and approach                       <|end|>
    <|assistant|> # last guidance of step 1                               #<|end|>
    <|user|> output of step 1, output of step 2, description of step 3    <|end|>
    <|assistant|> # last guidance of step 3                               #<|end|>

The first prompt is, to the letter, the one that the rollouts of GRPO use. Of several notes on one
step the last is taken: the attempt before it failed with the earlier ones, and what was answered
to them isn't recorded. Where the session has all that the teacher wrote, its thoughts too, that is
learned. Of a verifying teacher's session its reviews are learned: each attempt that it read, and
its verdict with its guidance, where all verdicts were true.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from atlas.data.chat import dialogue_examples
from atlas.data.recorded import shown_of, worth_of
from atlas.prompts import Message, PromptKind, Prompts
from atlas.prompts.renderer import Renderer
from atlas.session import Session, Step
from atlas.types import Tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a teacher is asked, before prompts put it into words."""

    parts: tuple[tuple[PromptKind, Mapping[str, str]], ...]
    """Kinds of prompts with their values; the user says them in one message."""

    def messages(self, prompts: Prompts) -> list[Message]:
        """Return it in words."""
        asked = [prompts.render(kind, **values) for kind, values in self.parts]
        users = "\n".join(messages[-1]["content"] for messages in asked)
        return [*asked[0][:-1], {"role": "user", "content": users}]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialogue:
    """What was said in one session, or one row of a data set; the assistant is the teacher.

    Example:
        >>> dialogue = Dialogue(session="17", messages=(
        ...     {"role": "user", "content": "Task: ..."},
        ...     {"role": "assistant", "content": "A = 2 * 3. Answer A."}))
    """

    session: str
    """Names the session, for lineage."""
    messages: tuple[Message | Request, ...]
    """Ends with a turn of the assistant; every turn of the assistant is learned."""
    worth: Mapping[str, float] = field(default_factory=dict)
    """How much it counts among others, 0 to 1, by what may be asked: ``reward``, ``validation``."""

    def in_words(self, prompts: Prompts) -> list[Message]:
        """Return the messages, requests as these prompts word them."""
        return [
            message
            for turn in self.messages
            for message in (turn.messages(prompts) if isinstance(turn, Request) else [turn])
        ]


def dialogue_of(session: Session) -> Dialogue | str:
    """Return what the teacher said in a session, or what it counts as where it gives nothing."""
    if (session.metadata or {}).get("teaching_finished") is False:
        return (
            "sessions whose teaching was cut"  # a plan without its end would teach to stop anywhere
        )
    reviews = (session.metadata or {}).get("reviews")
    if isinstance(reviews, list):
        return _reviewed(session, reviews)
    said = str((session.metadata or {}).get("teaching_said") or "")
    messages: list[Message | Request] = []
    since: list[Step] = []
    """Steps since the latest teaching."""
    for step in session.steps:
        notes = [note.note for note in step.guidance if note.note.strip()]
        if notes:
            messages.append(_request(session, since, step, first=not messages))
            told = said if notes[-1] in said else notes[-1]
            messages.append({"role": "assistant", "content": told})
            since = []
        since.append(step)
    if not messages:
        return "sessions without guidance"
    key = session_key(session)
    return Dialogue(session=key, messages=tuple(messages), worth=worth_of(session))


def _reviewed(session: Session, reviews: Sequence[object]) -> Dialogue | str:
    """Return what a verifying teacher said in a session; nothing of it where a verdict is false."""
    messages: list[Message | Request] = []
    for review in reviews:
        kept = review if isinstance(review, Mapping) else {}
        said, attempt = kept.get("said"), kept.get("attempt")
        if not isinstance(said, str) or not said or not session.steps:
            return "sessions whose reviews aren't laid out as expected"
        if isinstance(attempt, str):
            if kept.get("true") is not True:
                return "sessions with a verdict that isn't true"
            kind: PromptKind = "next_review" if messages else "review"
            messages.append(Request(parts=((kind, {"task": session.task, "attempt": attempt}),)))
        else:
            messages.append(_request(session, (), session.steps[0], first=True))
        messages.append({"role": "assistant", "content": said})
    key = session_key(session)
    return Dialogue(session=key, messages=tuple(messages), worth=worth_of(session))


def examples_of(
    dialogues: Iterable[Dialogue],
    renderer: Renderer,
    *,
    max_length: int,
    weigh_by: Sequence[str] = (),
) -> list[Tokens]:
    """Return the examples of dialogues; those whose first teaching is too long give none.

    Args:
        dialogues: With their session, which the examples keep in ``source``.
        renderer: How the teacher is spoken to.
        max_length: In tokens.
        weigh_by: What of a dialogue's worth its examples count by; the product of several.
    """
    return [
        replace(example, advantage=_weight(dialogue, weigh_by)) if weigh_by else example
        for dialogue in dialogues
        for example in dialogue_examples(
            renderer.tokenizer,
            dialogue.in_words(renderer.prompts),
            max_length=max_length,
            source=dialogue.session,
            given=renderer.template_kwargs,
        )
    ]


def _weight(dialogue: Dialogue, weigh_by: Sequence[str]) -> float:
    return math.prod(dialogue.worth.get(name, 1.0) for name in weigh_by)


def num_teachings(dialogue: Dialogue) -> int:
    """Return how many turns a dialogue has that could be learned."""
    turns = [turn for turn in dialogue.messages if not isinstance(turn, Request)]
    return sum(turn["role"] == "assistant" for turn in turns)


def probed(session: Session, name: str) -> str:
    """Return what the student said before it was taught, from the probe; empty without one.

    Args:
        session: As recorded.
        name: ``approach``, how it would go about the task; ``alone``, what it wrote.
    """
    summary = session.adaptive_summary
    probe = getattr(summary, "probe", None) if summary else None
    said = probe.get(name) if probe else None
    return said if isinstance(said, str) else ""


def session_key(session: Session) -> str:
    """Return what names a session: the store's number, else its task."""
    return str(session.id) if session.id is not None else f"task:{session.task}"


def _request(session: Session, since: Sequence[Step], step: Step, *, first: bool) -> Request:
    """Return what the teacher is asked before it teaches a step."""
    parts: list[tuple[PromptKind, Mapping[str, str]]] = []
    if first:
        before = {name: probed(session, name) for name in ("approach", "alone")}
        before |= shown_of(session)
        parts.append(("teaching", {"task": session.task, **before}))
    if since:
        output = "\n".join(done.output for done in since if done.output)
        parts.append(("next_step", {"output": output, "step": step.description or ""}))
    return Request(parts=tuple(parts))
