"""The recorded session: what one agent did on one task, typed.

Stage: the nouns that ``traces`` reads and writes and ``datasets`` turns into samples. No I/O.

Two kinds of absence are told apart. ``None`` is a null that the source wrote down; ``MISSING``
(false in a condition) says that the source has no such field, or that a query did not load it.
What a document holds beyond the fields named here is kept in ``extra`` (in ``metadata`` for the
two documents of that name), so reading and writing again loses nothing. A known field whose
value has an unexpected shape stays in ``extra`` under its own name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal

JsonObject = Mapping[str, Any]


class Missing(Enum):
    """The type of ``MISSING``; false in a condition."""

    MISSING = "missing"

    def __bool__(self) -> Literal[False]:
        """Count as absent."""
        return False

    def __repr__(self) -> str:
        """Read as what it means."""
        return "MISSING"


MISSING: Final = Missing.MISSING
_DERIVED: Final[Any] = MISSING
"""Default of a field that ``__post_init__`` fills from the others."""


def json_number(value: object) -> float | None:
    """Return ``value`` where it is a JSON number (a boolean is none), else None."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeVerdict:
    """What one judge said of a session or a step.

    Example:
        >>> verdict = JudgeVerdict(identifier="helpfulness", score=0.8, rationale=None)
        >>> verdict.rationale, verdict.principles
        (None, MISSING)
    """

    identifier: str | Missing | None = MISSING
    score: float | Missing | None = MISSING
    rationale: str | Missing | None = MISSING
    principles: tuple[Any, ...] | Missing | None = MISSING
    """What the judge weighed, as it wrote them down."""
    samples: tuple[Any, ...] | Missing | None = MISSING
    """Its single samples, where it judged more than once."""
    escalated: bool | Missing | None = MISSING
    escalation_reason: str | Missing | None = MISSING
    extra: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionReward:
    """A reward with its breakdown by judge; a step's evaluation holds one of the same form.

    Example:
        >>> SessionReward(score=1.0).judges
        MISSING
    """

    score: float | Missing | None = MISSING
    judges: tuple[JudgeVerdict, ...] | Missing | None = MISSING
    rationale: str | Missing | None = MISSING
    raw: Any = MISSING
    """The judges' own answer, where it was kept."""
    extra: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanStep:
    """One step as it was planned."""

    id: int | str | Missing | None = MISSING
    description: str | Missing | None = MISSING
    tool: str | Missing | None = MISSING
    tool_params: JsonObject | Missing | None = MISSING
    depends_on: tuple[int | str, ...] | Missing | None = MISSING
    """Ids of the steps that must come first."""
    extra: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The plan of a session."""

    steps: tuple[PlanStep, ...] | Missing | None = MISSING
    execution_mode: str | Missing | None = MISSING
    """``stepwise`` or ``single_shot``."""
    extra: JsonObject = field(default_factory=dict)

    def steps_by_id(self) -> dict[object, PlanStep]:
        """Return the planned steps by their ids; where an id comes twice, the first counts."""
        return {step.id: step for step in reversed(self.steps or ())}


@dataclass(frozen=True, kw_only=True, slots=True)
class StepEvaluation:
    """How a step, or one attempt at it, was judged."""

    validation: JsonObject | Missing | None = MISSING
    """The validation labels."""
    reward: SessionReward | Missing | None = MISSING
    extra: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepAttempt:
    """One attempt at a step."""

    attempt: int
    """Counts from 1."""
    evaluation: StepEvaluation | None = None
    extra: JsonObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Give ``extra`` a document to be kept in."""
        if self.extra and self.evaluation is None:
            object.__setattr__(self, "evaluation", StepEvaluation())


@dataclass(frozen=True, kw_only=True, slots=True)
class GuidanceNote:
    """What the teacher told the student before or between attempts."""

    note: str
    sequence: int = 1
    """Place among the notes of its step; counts from 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrajectoryEvent:
    """One event of the runtime: a model call, a tool call, a task."""

    event: Any
    """The event as the runtime wrote it, usually an object."""
    created_at: datetime | None = None
    id: int | None = field(default=None, compare=False)
    """The store's own number; not part of what happened, so not compared."""

    @property
    def type(self) -> str | None:
        """The event's type, such as ``LLM_END``; None where it has none."""
        event = self.event if isinstance(self.event, Mapping) else {}
        found = event.get("event_type") or event.get("type")
        return found if isinstance(found, str) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveSummary:
    """How the runtime chose its way of working.

    Example: the teacher went along because the probe showed a wrong approach:
        >>> AdaptiveSummary(lane="paired", confidence=0.3,
        ...                 probe={"approach": "From left to right."}).lane
        'paired'
    """

    lane: str | Missing | None = MISSING
    """``auto``, ``paired``, ``coach``, …; ``adaptive_mode`` in the document."""
    confidence: float | Missing | None = MISSING
    """0 to 1."""
    certification_run: bool | Missing | None = MISSING
    """True where the session was run to certify the agent on its kind of task."""
    probe: JsonObject | Missing | None = MISSING
    """The probe's evidence: what the student showed before it was taught."""
    mode_history: tuple[Any, ...] | Missing | None = MISSING
    extra: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step that was worked on: what it was, what was taught, what came out.

    Example:
        >>> step = Step(id=1, description="Work it out.", output="14",
        ...             guidance=(GuidanceNote(note="Multiply first."),))
        >>> step.num_attempts
        1
    """

    id: int
    description: str | Missing | None = MISSING
    """The plan's word for it; MISSING where the plan has no such step."""
    depends_on: tuple[int | str, ...] | Missing | None = MISSING
    """As in the plan."""
    trace: str | None = ""
    output: str | None = ""
    evaluation: StepEvaluation | None = None
    attempts: tuple[StepAttempt, ...] = ()
    num_attempts: int | None = _DERIVED
    """As recorded. Left out: the number of ``attempts``, at least 1."""
    guidance: tuple[GuidanceNote, ...] = ()
    artifacts: Any = MISSING
    runtime: Any = MISSING
    deliverable: Any = MISSING
    metadata: JsonObject | None = field(default_factory=dict)
    """The step's metadata but for the three fields above; None where there is none at all."""
    has_result: bool = True
    """False where attempts or guidance were recorded but no result: the session ended before."""
    extra: JsonObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Derive what was left out."""
        if self.num_attempts is MISSING:
            count = max(1, len(self.attempts)) if self.has_result else None
            object.__setattr__(self, "num_attempts", count)
        if self.metadata is None:
            _open_if_used(self, ("artifacts", "runtime", "deliverable"))

    @property
    def validation(self) -> JsonObject | Missing | None:
        """The validation labels of the step's evaluation."""
        return MISSING if self.evaluation is None else self.evaluation.validation


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """One recorded session.

    Example: a taught task that went well:
        >>> session = Session(
        ...     task="Calculate 2 + 3 * 4.", final_answer="14", status="succeeded",
        ...     reward=SessionReward(score=1.0),
        ...     steps=(Step(id=1, description="Work it out.", output="Answer: 14"),),
        ...     metadata={"family": "basic_arithmetic"})
        >>> session.score, session.plan.steps[0].description, session.adaptive_summary
        (1.0, 'Work it out.', MISSING)

    Raises:
        ValueError: a step contradicts the plan.
    """

    task: str
    final_answer: str | None = None
    status: str | None = "running"
    """``running``, ``succeeded`` or ``failed``."""
    review_status: str | None = "pending"
    """``pending``, ``approved`` or ``quarantined``."""
    review_notes: str | None = None
    created_at: datetime | None = None
    """With time zone. None: the store sets it when the session is written."""
    completed_at: datetime | None = None
    plan: Plan | None = _DERIVED
    """Left out: made of the steps' descriptions, None where there is no step."""
    steps: tuple[Step, ...] = ()
    reward: SessionReward | None = None
    reward_stats: JsonObject | None = _DERIVED
    """Statistics over the judges. Left out: the score alone, which other readers filter by."""
    reward_audit: tuple[Any, ...] | None = None
    trajectory_events: tuple[TrajectoryEvent, ...] | Missing = ()
    """In the order of recording; MISSING where a query left them out."""
    student_learning: str | Missing | None = None
    """What the student was told to remember; MISSING where a query left it out."""
    teacher_learning: str | Missing | None = None
    triage_dossier: JsonObject | Missing | None = MISSING
    adaptive_summary: AdaptiveSummary | Missing | None = MISSING
    personas_used: Any = MISSING
    persona_updates: Any = MISSING
    learning_key: str | Missing | None = MISSING
    learning_history: JsonObject | Missing | None = MISSING
    drift: JsonObject | Missing | None = MISSING
    metadata: JsonObject | None = field(default_factory=dict)
    """The session's metadata but for the seven fields above; None where there is none at all."""
    extra: JsonObject = field(default_factory=dict)
    id: int | None = field(default=None, compare=False)
    """The store's own number; not part of what happened, so not compared."""

    def __post_init__(self) -> None:
        """Derive what was left out and join the steps with the plan."""
        if self.plan is MISSING:
            object.__setattr__(self, "plan", _plan_of(self.steps))
        object.__setattr__(self, "steps", _joined(self.steps, self.plan))
        if self.reward_stats is MISSING:
            score = None if self.reward is None else json_number(self.reward.score)
            stats = None if score is None else {"score": score}
            object.__setattr__(self, "reward_stats", stats)
        if self.metadata is None:
            _open_if_used(self, _METADATA_FIELDS)

    @property
    def score(self) -> float | None:
        """The reward's score, else the score of its statistics; None for an unscored session.

        The reward bounds of a query apply to this number, in the database as here.
        """
        score = None if self.reward is None else json_number(self.reward.score)
        if score is None and self.reward_stats:
            score = json_number(self.reward_stats.get("score"))
        return score


_METADATA_FIELDS: Final = (
    "triage_dossier",
    "adaptive_summary",
    "personas_used",
    "persona_updates",
    "learning_key",
    "learning_history",
    "drift",
)
_UNPLANNED: Final = PlanStep()


def _open_if_used(noun: Session | Step, names: tuple[str, ...]) -> None:
    """Make ``metadata`` an empty object where the document holds fields or ``extra`` already."""
    if noun.extra or any(getattr(noun, name) is not MISSING for name in names):
        object.__setattr__(noun, "metadata", {})


def _plan_of(steps: tuple[Step, ...]) -> Plan | None:
    """Return the plan that the steps' own descriptions amount to."""
    if not steps:
        return None
    planned: dict[int, PlanStep] = {}
    for step in steps:
        text = "" if step.description is MISSING else step.description
        planned.setdefault(
            step.id, PlanStep(id=step.id, description=text, depends_on=step.depends_on)
        )
    return Plan(steps=tuple(planned.values()))


def _joined(steps: tuple[Step, ...], plan: Plan | None) -> tuple[Step, ...]:
    """Return the steps with the plan's description and dependencies; refuse a contradiction."""
    planned_by_id = plan.steps_by_id() if plan else {}
    joined: list[Step] = []
    for step in steps:
        planned = planned_by_id.get(step.id, _UNPLANNED)
        description, depends_on = planned.description, planned.depends_on
        if step.description is not MISSING and step.description != description:
            raise ValueError(
                f"step {step.id} is described as {step.description!r}, in the plan {description!r}"
            )
        if step.depends_on is not MISSING and step.depends_on != depends_on:
            raise ValueError(
                f"step {step.id} depends on {step.depends_on!r}, in the plan on {depends_on!r}"
            )
        if (step.description, step.depends_on) != (description, depends_on):
            step = replace(step, description=description, depends_on=depends_on)
        joined.append(step)
    return tuple(joined)
