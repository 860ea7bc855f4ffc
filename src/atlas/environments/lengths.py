"""Before training: do prompts and completions fit, and how many completions will be cut?

Input: a classroom, tasks, limits. Output: a line for the user, or a refusal. A completion that is
cut at its limit was not finished: its reward says little, and by default it is left out of the
loss, so a run that cuts most of them learns from the rest alone, or from nothing.

The samples are drawn with twice the room that training gives, so that the line can also say which
limit would do.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedModel

from atlas.config.grpo import GRPOConfig
from atlas.config.sampling import DialogueConfig
from atlas.environments.teaching.dialogue import Student, Teacher
from atlas.environments.teaching.lessons import Classroom
from atlas.errors import AtlasError
from atlas.prompts.chat import render_ids
from atlas.run.seeding import derive_seed
from atlas.types import Completion, Task

# Rendering every prompt of a large set would take long; the longest questions make the longest.
_LONGEST = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """Longest prompts, in tokens, and how many tokens each model has room for (None: no limit)."""

    teacher_prompt: int
    teacher: int | None
    student_prompt: int
    """With the longest teaching in it."""
    student: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LengthProbe:
    """How long sampled completions get, and what a limit does to them.

    Example: one of four is cut at 8, and 12 would keep more than nine of ten:
        >>> probe = LengthProbe(who="teachings", key="max_new_tokens", limit=8, tried=16,
        ...                     lengths=(3, 5, 8, 12))
        >>> probe.cut_share, probe.proposal
        (0.25, 12)
    """

    who: str
    key: str
    """Of the configuration, which sets the limit."""
    limit: int
    tried: int
    """The limit that the probe itself had."""
    lengths: tuple[int | None, ...]
    """In tokens; None where even ``tried`` was not enough."""

    @property
    def cut_share(self) -> float:
        """Share of the completions that ``limit`` cuts."""
        cut = sum(length is None or length > self.limit for length in self.lengths)
        return cut / len(self.lengths)

    @property
    def proposal(self) -> int | None:
        """Smallest limit that keeps nine of ten whole; None if that is more than was tried."""
        needed = -(-len(self.lengths) * 9 // 10)
        ended = sorted(length for length in self.lengths if length is not None)
        return ended[needed - 1] if len(ended) >= needed else None

    @property
    def line(self) -> str:
        """What was found, for a person."""
        enough = f"{self.proposal}" if self.proposal else f"more than {self.tried}"
        cut = round(self.cut_share * len(self.lengths))
        return (
            f"{cut} of {len(self.lengths)} sampled {self.who} are cut at {self.key}={self.limit}; "
            f"nine of ten end within {enough} tokens"
        )


def check_windows(config: DialogueConfig, windows: Windows) -> None:
    """Refuse limits that a model has no room for.

    Raises:
        AtlasError: A prompt and its completion can be longer than the model's window.
    """
    for who, key, room, prompt in (
        ("teacher", "max_new_tokens", windows.teacher, windows.teacher_prompt),
        ("student", "student_max_new_tokens", windows.student, windows.student_prompt),
    ):
        new = getattr(config, key)
        if room is not None and prompt + new > room:
            raise AtlasError(
                f"{key}={new} doesn't fit: a prompt of the {who} takes up to {prompt} tokens and "
                f"its model has room for {room}; " + _what_fits(room - prompt, key)
            )


def windows_of(
    config: DialogueConfig,
    room: Classroom,
    tasks: Sequence[Task],
    *,
    teacher: PreTrainedModel,
    student: PreTrainedModel,
) -> Windows:
    """Measure the longest prompts of a classroom, and the windows of its models."""
    longest = heapq.nlargest(_LONGEST, tasks, key=lambda task: len(task.question))
    teaching = max(
        len(render_ids(room.teacher.tokenizer, "teaching", task=task.question, approach=""))
        for task in longest
    )
    attempt = max(
        len(render_ids(room.student.tokenizer, "attempt", task=task.question, teaching=""))
        for task in longest
    )
    return Windows(
        teacher_prompt=teaching + config.approach_max_new_tokens,
        teacher=_window(teacher),
        student_prompt=attempt + config.max_new_tokens,
        student=_window(student),
    )


def probe_lengths(
    config: GRPOConfig, room: Classroom, tasks: Sequence[Task], windows: Windows
) -> list[LengthProbe]:
    """Sample teachings and attempts, and count how many the limits of training would cut."""
    num_samples = config.length_probe_samples
    chosen = [tasks[i * len(tasks) // num_samples] for i in range(num_samples)]
    seed = derive_seed(config.seed, "length probe")
    teacher_limit = _tried(config.max_new_tokens, windows.teacher, windows.teacher_prompt)
    student_limit = _tried(config.student_max_new_tokens, windows.student, windows.student_prompt)
    teacher = Teacher(
        room.teacher.generator,
        room.teacher.tokenizer,
        replace(room.teacher.sampling, max_new_tokens=teacher_limit),
    )
    student = Student(
        room.student.generator,
        room.student.tokenizer,
        replace(room.student.sampling, max_new_tokens=student_limit),
    )
    approaches = [alone.approach.text for alone in room.student.alone(chosen)]
    teachings = [group[0] for group in teacher.teach(chosen, approaches, num_samples=1, seed=seed)]
    texts: list[str] = [  # as training would cut them
        str(
            room.teacher.tokenizer.decode(
                list(teaching.token_ids[: config.max_new_tokens]), skip_special_tokens=True
            )
        ).strip()
        for teaching in teachings
    ]
    attempts = student.attempt(chosen, texts, seed=seed)
    return [
        LengthProbe(
            who="teachings",
            key="max_new_tokens",
            limit=config.max_new_tokens,
            tried=teacher_limit,
            lengths=_lengths(teachings),
        ),
        LengthProbe(
            who="attempts of the student",
            key="student_max_new_tokens",
            limit=config.student_max_new_tokens,
            tried=student_limit,
            lengths=_lengths(attempts),
        ),
    ]


def check_lengths(config: GRPOConfig, probes: Sequence[LengthProbe]) -> None:
    """Refuse to train where too many completions would be cut.

    Raises:
        AtlasError: More than ``max_clipped_share`` of one kind.
    """
    for probe in probes:
        if probe.cut_share > config.max_clipped_share:
            enough = f"={probe.proposal}" if probe.proposal else f" to more than {probe.tried}"
            raise AtlasError(
                f"{probe.line}; set {probe.key}{enough}, or max_clipped_share="
                f"{probe.cut_share:.2f} to train all the same"
            )


def _tried(limit: int, room: int | None, prompt: int) -> int:
    return 2 * limit if room is None else max(limit, min(2 * limit, room - prompt))


def _lengths(completions: Sequence[Completion]) -> tuple[int | None, ...]:
    return tuple(c.num_tokens if c.finish_reason == "stop" else None for c in completions)


def _what_fits(left: int, key: str) -> str:
    return f"at most {key}={left} fits" if left > 0 else "take a model with a longer window"


def _window(model: PreTrainedModel) -> int | None:
    config: Any = model.config.get_text_config()
    return getattr(config, "max_position_embeddings", None)
