"""Teaching by review: a verifying teacher reads what the student did, and certifies it or helps.

A group shares the student's attempt alone; G reviews of one prompt::

    student   task                          -> alone        kept per task
    teacher   task + attempt                -> review 0 .. G-1
    certified                               -> the attempt stands
    student   task + attempt + guidance     -> attempt, else; read again up to ``max_rounds`` times
    verifier and leak detector              -> score g

With ``plans`` the teacher speaks before the attempt, too: a plan is the first turn of the episode,
and the attempt with it is what is reviewed. The reference answer is never shown.

Input: tasks. Output: `Lesson`s with `Review`s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from atlas.environments.actor import Actor
from atlas.environments.lengths import LengthProbe, longest_first, probed
from atlas.environments.teaching.plan import PlanTeaching
from atlas.environments.teaching.review_text import Reading, read_review
from atlas.prompts.thinking import tagged
from atlas.rewards.leaks.find import find_leak
from atlas.rewards.uplift import uplift_score
from atlas.rewards.verdicts import with_verdicts
from atlas.rewards.verifiers import verified
from atlas.rollouts.generator import Prompt
from atlas.types import Attempt, Completion, Episode, Lesson, Review, Score, Task, Utterance


@dataclass(frozen=True, kw_only=True, slots=True)
class _Turn:
    """What the teacher said in one turn."""

    said: Utterance
    reading: Reading | None
    """None for a plan."""

    @property
    def shown(self) -> str | None:
        """What the student is shown; None where it doesn't try again."""
        if self.said.withheld:
            return None
        if self.reading is None:
            return self.said.text
        return None if self.reading.certified else self.reading.guidance


@dataclass(frozen=True, kw_only=True, slots=True)
class _Course:
    """How far a lesson has come."""

    attempt: Attempt
    """The newest."""
    reviews: tuple[Review, ...] = ()
    shown: tuple[str, ...] = ()
    """What the student was shown, turn by turn."""
    stands: bool = False
    """The newest attempt isn't tried again."""

    def after(self, turn: _Turn, attempt: Attempt | None) -> _Course:
        """Return the course after a turn of the teacher, and the attempt that it led to."""
        reviews = self.reviews
        if turn.reading is not None:
            review = Review(
                attempt=self.attempt,
                certified=turn.reading.certified and not turn.said.withheld,
                readable=turn.reading.readable and not turn.said.withheld,
                guidance=turn.shown or "",
                tried_again=attempt is not None,
            )
            reviews = (*reviews, review)
        return _Course(
            attempt=attempt or self.attempt,
            reviews=reviews,
            shown=(*self.shown, turn.shown) if turn.shown else self.shown,
            stands=attempt is None,
        )


class ReviewTeaching(PlanTeaching):
    """Reads the student's attempts; see `PlanTeaching` for what isn't named here.

    Args:
        max_rounds: Reviews of a lesson, each of which may send the student back once.
        verdict_weight: Of a verdict that is true, in units of one task solved.
        plans: The teacher gives a plan before the first attempt.
    """

    def __init__(
        self,
        *args: Any,
        max_rounds: int = 1,
        verdict_weight: float = 0.5,
        plans: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self._max_rounds, self._verdict_weight, self._plans = max_rounds, verdict_weight, plans
        self._tried: dict[tuple[str, ...], Attempt] = {}
        """What came of a task (its id) and all that the student was shown, in this step."""

    def begin(self, tasks: Sequence[Task]) -> list[Prompt]:
        """Return the teacher's prompts, with the student's attempts."""
        if self._plans:
            return super().begin(tasks)
        return [
            self.renderer.prompt("review", task=task.question, attempt=before.alone.text)
            for task, before in zip(tasks, self.baselines.of(tasks), strict=True)
        ]

    def reply(self, episodes: Sequence[Episode]) -> list[str | None]:
        """Show the teacher the next attempt; None where it stands, or rounds are over."""
        render = self.renderer.prompts.render
        return [
            None
            if course.stands or len(course.reviews) >= self._max_rounds
            else render("next_review", attempt=course.attempt.text)[-1]["content"]
            for course in self._courses(episodes)
        ]

    def outcome(self, episodes: Sequence[Episode]) -> list[Lesson]:
        """Let the student try where it wasn't certified, and score what the reviews did."""
        courses = self._courses(episodes)
        self._tried = {}  # not cleared: another share's turns may be looking into it
        befores = self.baselines.of([episode.task for episode in episodes])
        lessons = [
            Lesson(
                task=episode.task,
                turns=episode.turns,
                replies=episode.replies,
                alone=before.alone,
                approach=before.approach,
                teaching=_teaching(episode, course),
                attempt=course.attempt,
                reviews=course.reviews,
                leak=find_leak(episode.task, "\n".join(course.shown)) if course.shown else None,
            )
            for episode, course, before in zip(episodes, courses, befores, strict=True)
        ]
        return [
            replace(lesson, score=self._scored(lesson, gain))
            for lesson, gain in zip(lessons, self._gains(lessons), strict=True)
        ]

    def prepare(self, tasks: Sequence[Task], actor: Actor) -> None:
        """Check the windows of both models, and ask the student what it does alone."""
        if self._plans:
            super().prepare(tasks, actor)
            return
        attempt = self.student.max_new_tokens
        prompts = [
            self.renderer.prompt("review", task=task.question, attempt=".")
            for task in longest_first(tasks)
        ]
        actor.require_room("teacher", max(map(len, prompts)) + attempt)
        # Of its second prompt the first attempt is a part.
        self.student.prepare(tasks, teaching_tokens=actor.sampling.max_new_tokens + attempt)
        self.baselines.ask(tasks, self._progress, self._ranks)

    def probe(self, tasks: Sequence[Task], actor: Actor, *, seed: int) -> list[LengthProbe]:
        """Sample what the teacher says first for each task."""
        if self._plans:
            return super().probe(tasks, actor, seed=seed)
        return [probed(actor, self.begin(tasks), seed=seed, who="reviews")[0]]

    def _courses(self, episodes: Sequence[Episode]) -> list[_Course]:
        """Go through what the teacher said, turn by turn, all episodes side by side."""
        befores = self.baselines.of([episode.task for episode in episodes])
        courses = [_Course(attempt=before.alone) for before in befores]
        for place in range(max(len(episode.turns) for episode in episodes)):
            going = [i for i, episode in enumerate(episodes) if place < len(episode.turns)]
            turns = [self._read(episodes[i].turns[place], place) for i in going]
            tasks = [episodes[i].task for i in going]
            attempts = self._attempts(tasks, turns, [courses[i] for i in going])
            for i, turn, attempt in zip(going, turns, attempts, strict=True):
                courses[i] = courses[i].after(turn, attempt)
        return courses

    def _read(self, completion: Completion, place: int) -> _Turn:
        said = Utterance.of(completion)
        if self._plans and place == 0:
            return _Turn(said=tagged(said, self._teaching_tag), reading=None)
        return _Turn(said=said, reading=read_review(said.text))

    def _attempts(
        self, tasks: Sequence[Task], turns: Sequence[_Turn], courses: Sequence[_Course]
    ) -> list[Attempt | None]:
        """Return the verified attempt that each turn leads to; None where it leads to none."""
        tried = self._tried
        keys = [
            None if turn.shown is None else (task.id, *course.shown, turn.shown)
            for task, turn, course in zip(tasks, turns, courses, strict=True)
        ]
        new = {key: i for i, key in enumerate(keys) if key is not None and key not in tried}
        if new:
            asked = [tasks[i] for i in new.values()]
            said = self.student.attempt(
                asked,
                [turns[i].shown for i in new.values()],
                # The first turn of all is a plan, or none is.
                before=None
                if turns[0].reading is None
                else [courses[i].attempt for i in new.values()],
            )
            found = verified(asked, said, self.student.answer_format)
            tried |= dict(zip(new, found, strict=True))
        return [None if key is None else tried[key] for key in keys]

    def _scored(self, lesson: Lesson, gain: float) -> Score:
        score = uplift_score(lesson, self._weights, dense=gain)
        return with_verdicts(lesson, score, self._verdict_weight) if lesson.reviews else score

    def _gains(self, lessons: Sequence[Lesson]) -> list[float]:
        """Return how much likelier the guidance makes the answer, as if it were a plan."""
        gains = [0.0] * len(lessons)
        given = [place for place, one in enumerate(lessons) if one.teaching.text]
        if self._weights.dense and given:
            tasks = [lessons[place].task for place in given]
            found = self.student.gains(tasks, [lessons[place].teaching.text for place in given])
            for place, gain in zip(given, found or (), strict=False):
                gains[place] = gain
        return gains


def _teaching(episode: Episode, course: _Course) -> Utterance:
    """Return what the student was shown, which took all that the teacher said."""
    last = episode.turns[-1]
    return Utterance(
        text="\n".join(course.shown),
        num_tokens=episode.num_tokens,
        finished=last.finish_reason == "stop",
        thoughts=last.thoughts,
        withheld=last.withheld,
    )
