"""Configuration of sampling: how long texts may be, and how the teacher's are drawn."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Self

from atlas.config.grammar.schema import key
from atlas.config.parts.answers import AUTO, check_answer_format
from atlas.config.parts.prompts import PromptsConfig
from atlas.errors import AtlasError

TeachingKind = Literal["plan", "review", "plan_review"]


@dataclass(frozen=True, kw_only=True)
class DialogueConfig(PromptsConfig):
    """How long teacher and student speak, and how varied the teacher is."""

    student_chat_template_kwargs: Mapping[str, bool | int | float | str] | None = key(
        None, "The same for the student's chat template."
    )

    teaching: TeachingKind = key(
        "plan",
        "How the teacher teaches. plan: it advises before the student tries. review: it reads what "
        "the student did, and certifies it or sends it back with guidance. plan_review: both.",
    )
    max_rounds: int = key(
        1, "Reviews of one task, each of which may send the student back once.", ge=1
    )
    temperature: float = key(
        0.7, "Of the teacher's sampling. Higher for more varied teachings.", gt=0
    )
    top_p: float = key(
        0.95, "Nucleus of the teacher's sampling; 1 samples from everything.", gt=0, le=1
    )
    max_new_tokens: int = key(512, "Longest teaching, in tokens.", ge=1)
    student_max_new_tokens: int = key(512, "Longest answer of the student, in tokens.", ge=1)
    approach_max_new_tokens: int = key(
        32,
        "Longest statement of how the student would go about a task, which the teacher reads.",
        ge=1,
    )
    answer_format: str = key(
        AUTO,
        "How the student marks its final answer: auto, answer, boxed, hash, last_line, "
        "last_number, json:PATH or regex:PATTERN. A task's metadata may say otherwise.",
    )

    teaching_tag: str | None = key(
        None,
        "Only what the teacher writes between <TAG> and </TAG> is given on; null: what "
        "the teacher was trained with, else all of it. Without a whole tag there is no teaching.",
    )

    def resolved(self, given: Collection[str], world_size: int) -> Self:
        """Refuse a format that answers can't be read by, and a tag that is none."""
        del given, world_size
        check_answer_format(self.answer_format)
        if self.teaching_tag is not None and not self.teaching_tag.isidentifier():
            raise AtlasError(
                f"teaching_tag must be the name of a tag, such as teaching for <teaching>, not "
                f"'{self.teaching_tag}'"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(DialogueConfig):
    """The finer choices of a policy in training."""

    top_k: int = key(
        0, "Sample from this many of the likeliest tokens only; 0 samples from all.", ge=0
    )
    min_p: float = key(
        0.0,
        "Leave out tokens with less than this share of the likeliest one's probability.",
        ge=0,
        le=1,
    )
    repetition_penalty: float = key(
        1.0,
        "Above 1, tokens that were there before are less likely. The trainer's log-probabilities "
        "know nothing of it, so keep it at 1 unless teachings go round in circles.",
        gt=0,
    )
    stop: tuple[str, ...] | None = key(
        None, "Texts that end a teaching, which keeps the token that completes one of them."
    )
