"""Sessions to SFT examples: the teacher's prompts and the teachings that it gave.

Input: recorded sessions. Output: one `Dialogue` a session, and from dialogues `Tokens`. Drawn,
for a session of three steps of which the second was not taught (``#`` is in the loss)::

    <|user|> the teaching prompt: task and approach                       <|end|>
    <|assistant|> # last guidance of step 1                               #<|end|>
    <|user|> output of step 1, output of step 2, description of step 3    <|end|>
    <|assistant|> # last guidance of step 3                               #<|end|>

The first prompt is, to the letter, the one that the rollouts of GRPO use. Of several notes on one
step the last is taken: the attempt before it failed with the earlier ones, and what was answered
to them isn't recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from atlas import prompts
from atlas.data.chat import dialogue_examples
from atlas.prompts import Message
from atlas.session import Session, Step
from atlas.types import Tokens


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
    messages: tuple[Message, ...]
    """Ends with a turn of the assistant; every turn of the assistant is learned."""


def dialogue_of(session: Session) -> Dialogue | str:
    """Return what the teacher said in a session, or what it counts as where it gives nothing."""
    if (session.metadata or {}).get("teaching_finished") is False:
        return (
            "sessions whose teaching was cut"  # a plan without its end would teach to stop anywhere
        )
    messages: list[Message] = []
    since: list[Step] = []
    """Steps since the latest teaching."""
    for step in session.steps:
        notes = [note.note for note in step.guidance if note.note.strip()]
        if notes:
            messages.append({"role": "user", "content": _request(session, since, step, messages)})
            messages.append({"role": "assistant", "content": notes[-1]})
            since = []
        since.append(step)
    if not messages:
        return "sessions without guidance"
    return Dialogue(session=session_key(session), messages=tuple(messages))


def examples_of(
    dialogues: Iterable[Dialogue], tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> list[Tokens]:
    """Return the examples of dialogues; those whose first teaching is too long give none.

    Args:
        dialogues: With their session, which the examples keep in ``source``.
        max_length: In tokens.
    """
    return [
        example
        for dialogue in dialogues
        for example in dialogue_examples(
            tokenizer, dialogue.messages, max_length=max_length, source=dialogue.session
        )
    ]


def num_teachings(dialogue: Dialogue) -> int:
    """Return how many turns a dialogue has that could be learned."""
    return sum(message["role"] == "assistant" for message in dialogue.messages)


def stated_approach(session: Session) -> str:
    """Return what the student said that it would do, from the probe; empty where there is none."""
    summary = session.adaptive_summary
    probe = getattr(summary, "probe", None) if summary else None
    approach = probe.get("approach") if probe else None
    return approach if isinstance(approach, str) else ""


def session_key(session: Session) -> str:
    """Return what names a session: the store's number, else its task."""
    return str(session.id) if session.id is not None else f"task:{session.task}"


def _request(session: Session, since: Sequence[Step], step: Step, before: Sequence[Message]) -> str:
    """Return what the teacher is asked before it teaches a step."""
    asked: list[str] = []
    if not before:
        (opening,) = prompts.render(
            "teaching", task=session.task, approach=stated_approach(session)
        )
        asked.append(opening["content"])
    if since:
        output = "\n".join(done.output for done in since if done.output)
        (request,) = prompts.render("next_step", output=output, step=step.description or "")
        asked.append(request["content"])
    return "\n".join(asked)
