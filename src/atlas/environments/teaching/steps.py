"""Teaching at every step: the teacher speaks before each turn of a student that acts with tools.

An episode of G has as many turns of the teacher as the student takes, all of one advantage::

    teacher   task + approach          -> guidance 1
    student   task + guidance 1        -> calls a tool, is told what came of it
    teacher   what the student did     -> guidance 2
    student   result + guidance 2      -> ... until it answers
    verifier and leak detector         -> score g

Where the teacher is cut, or its window is full, the student goes on alone. The reference answer is
never shown.

Input: tasks. Output: `Lesson`s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from atlas.environments.teaching.plan import PlanTeaching
from atlas.environments.tools.acting import is_over, shown
from atlas.prompts.thinking import tagged
from atlas.types import Attempt, Episode, Lesson, Task, Utterance

_NEXT = "Go on with the task."

_Spoken = tuple[str | None, ...]
"""What the student was given, turn by turn; None where the teacher said nothing, at first."""


class StepTeaching(PlanTeaching):
    """Speaks before each of the student's turns; arguments of `PlanTeaching`."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._after: dict[tuple[str, _Spoken], Attempt] = {}
        """How far the student came with a task (its id) and all that was said, in this step."""

    def reply(self, episodes: Sequence[Episode]) -> list[str | None]:
        """Show the teacher what the student did; None where it is done."""
        render = self.renderer.prompts.render
        return [
            None
            if is_over(attempt)
            else render("next_step", output=shown(attempt.turns[-1]), step=_NEXT)[-1]["content"]
            for attempt in self._courses(episodes)
        ]

    def outcome(self, episodes: Sequence[Episode]) -> list[Lesson]:
        """Let the students end what they do, and score it."""
        tasks = [episode.task for episode in episodes]
        said = self._ended(tasks, [self._spoken(e) for e in episodes], self._courses(episodes))
        ended = {task.id for task in tasks}
        for key in [key for key in list(self._after) if key[0] in ended]:
            self._after.pop(key, None)  # of other tasks, another share's turns may be looking
        teachings = [self._teaching(episode) for episode in episodes]
        return self._lessons(episodes, self.baselines.of(tasks), teachings, said, [0.0] * len(said))

    def _teaching(self, episode: Episode) -> Utterance:
        """Return all that the student was given, which took all that the teacher said."""
        last = self._said(episode)[-1]
        text = "\n".join(filter(None, self._spoken(episode)))
        return replace(last, text=text, num_tokens=episode.num_tokens)

    def _said(self, episode: Episode) -> list[Utterance]:
        return [tagged(Utterance.of(turn), self._teaching_tag) for turn in episode.turns]

    def _spoken(self, episode: Episode) -> _Spoken:
        first, *later = self._said(episode)
        return (None if first.withheld else first.text, *(one.text for one in later))

    def _courses(self, episodes: Sequence[Episode]) -> list[Attempt]:
        """Return how far the student is after what was said, all episodes side by side."""
        after, spoken = self._after, [self._spoken(episode) for episode in episodes]
        tasks = [episode.task for episode in episodes]
        for turn in range(max(map(len, spoken))):
            new: dict[tuple[str, _Spoken], int] = {}
            for place, (task, said) in enumerate(zip(tasks, spoken, strict=True)):
                key = (task.id, said[: turn + 1])
                if turn < len(said) and key not in after:
                    so_far = after.get((task.id, said[:turn]), Attempt())
                    if is_over(so_far):  # asked anew, it didn't do the same
                        after[key] = so_far
                    else:
                        new.setdefault(key, place)
            found = self._gone_on(
                [tasks[place] for place in new.values()],
                [spoken[place][0] for place in new.values()],
                [after.get((name, said[:turn]), Attempt()) for name, said in new],
                [(said[turn] or "") if turn else "" for _, said in new],
            )
            after |= dict(zip(new, found, strict=True))
        return [after[task.id, said] for task, said in zip(tasks, spoken, strict=True)]

    def _ended(
        self, tasks: Sequence[Task], spoken: Sequence[_Spoken], attempts: Sequence[Attempt]
    ) -> list[Attempt]:
        """Return the attempts at their end: where the teacher fell silent, without it."""
        ended = list(attempts)
        while going := [place for place, one in enumerate(ended) if not is_over(one)]:
            found = self._gone_on(
                [tasks[place] for place in going],
                [spoken[place][0] for place in going],
                [ended[place] for place in going],
                [""] * len(going),
            )
            for place, attempt in zip(going, found, strict=True):
                ended[place] = attempt
        return ended

    def _gone_on(
        self,
        tasks: Sequence[Task],
        teachings: Sequence[str | None],
        attempts: Sequence[Attempt],
        guidance: Sequence[str],
    ) -> list[Attempt]:
        return self.student.go_on(tasks, teachings, attempts, guidance) if tasks else []
