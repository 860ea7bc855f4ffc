"""Sessions to SFT examples: the teacher's prompt and the teaching that it gave.

Input: recorded sessions. Output: one `Example` for each step with guidance, split by session.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from atlas import prompts
from atlas.datasets.chat import Example, make_example
from atlas.session import Session


def examples_from_sessions(
    sessions: Iterable[Session], tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> list[Example]:
    """Return an example for every step that was taught; sessions without guidance give none.

    Args:
        sessions: As recorded; filter them before.
        tokenizer: The teacher's.
        max_length: Longer examples are left out: a plan without its end teaches not to end.
    """
    examples: list[Example] = []
    for session in sessions:
        if (session.metadata or {}).get("teaching_finished") is False:
            continue  # a plan without its end would teach to stop anywhere
        messages = prompts.render("teaching", task=session.task, approach=stated_approach(session))
        for step in session.steps:
            if step.guidance:
                example = make_example(
                    tokenizer, messages, step.guidance[-1].note, source=session_key(session)
                )
                if len(example.ids) <= max_length:
                    examples.append(example)
    return examples


def stated_approach(session: Session) -> str:
    """Return what the student said that it would do, from the probe; empty where there is none."""
    summary = session.adaptive_summary
    probe = getattr(summary, "probe", None) if summary else None
    approach = probe.get("approach") if probe else None
    return approach if isinstance(approach, str) else ""


def split_by_session(
    examples: Iterable[Example], eval_share: float
) -> tuple[list[Example], list[Example]]:
    """Split so that no session is on both sides; by hash, so equal on every machine.

    Args:
        examples: With their session in ``source``.
        eval_share: Share of the sessions that goes to evaluation, 0 to 1.
    """
    train: list[Example] = []
    held: list[Example] = []
    for example in examples:
        digest = hashlib.sha256(example.source.encode()).hexdigest()[:16]
        (held if int(digest, 16) / 16**16 < eval_share else train).append(example)
    return train, held


def session_key(session: Session) -> str:
    """Return what names a session: the store's number, else its task."""
    return str(session.id) if session.id is not None else f"task:{session.task}"
