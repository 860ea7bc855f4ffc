"""Teaching by a plan: the policy is a teacher, and is rewarded for what its plan does to a student.

A group shares one prompt: per task one attempt alone and one approach of the student, asked once
and kept, then G plans of the same teacher prompt, then one attempt of the student with each::

    student   task                -> alone       kept per task
    student   task + probe        -> approach    kept per task
    teacher   task + approach     -> teaching 0 .. G-1
    student   task + teaching g   -> attempt  g
    verifier and leak detector    -> score    g

Input: tasks. Output: `Lesson`s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from atlas.data.recorded import shown_in
from atlas.endpoint.tally import joint_metrics
from atlas.environments.actor import Actor
from atlas.environments.environment import Environment
from atlas.environments.lengths import LengthProbe, longest_first, probed
from atlas.environments.metrics import mean
from atlas.environments.students.baselines import Baseline, Baselines
from atlas.environments.teaching.metrics import teaching_metrics
from atlas.parallel.distributed import ALONE, Ranks
from atlas.prompts.renderer import Renderer
from atlas.prompts.thinking import tagged
from atlas.rewards.composition import Reward
from atlas.rewards.judges.training import TrainingJudges
from atlas.rewards.leaks.find import find_leak
from atlas.rewards.uplift import UpliftWeights, uplift_score
from atlas.rewards.verifiers import verified
from atlas.rewards.verifiers.independent import independent_verifier
from atlas.rollouts.generator import Prompt
from atlas.run.progress import Progress, Silent
from atlas.types import Attempt, Episode, Lesson, Task, Utterance

_SHARES = 4


class PlanTeaching(Environment[Lesson]):
    """Teaches a student by a plan.

    Args:
        renderer: How the teacher is spoken to, and what is given on of what it says.
        baselines: Of the student, who is taught.
        approach_tokens: Most tokens of the student's approach.
        weights: Inside uplift.
        reward: Uplift and what else counts.
        judges: Whose scorers are in the reward, if any.
        progress: Told of the questions to the student before training.
    """

    accuracy = "accuracy_taught"

    def __init__(
        self,
        renderer: Renderer,
        baselines: Baselines,
        *,
        approach_tokens: int = 32,
        weights: UpliftWeights | None = None,
        reward: Reward | None = None,
        judges: TrainingJudges | None = None,
        ranks: Ranks = ALONE,
        progress: Progress | None = None,
    ) -> None:
        self.renderer, self.baselines, self.student = renderer, baselines, baselines.student
        self.outcome_waits = self.student.waits
        self.num_shares = _SHARES if self.outcome_waits or (reward and reward.scorers) else 1
        self._approach_tokens = approach_tokens
        self._teaching_tag = renderer.prompts.settings("teacher").get("teaching_tag")
        self._weights, self._judges = weights or UpliftWeights(), judges
        self._reward = reward or Reward()
        self._ranks, self._progress = ranks, progress or Silent()

    def begin(self, tasks: Sequence[Task]) -> list[Prompt]:
        """Return the teacher's prompts, with the student's approaches."""
        self.baselines.forget_failed(tasks)
        return [
            self.renderer.prompt(
                "teaching",
                task=task.question,
                approach=before.approach.text,
                # How it turned out is not said: in production nobody knows.
                alone=before.alone.text,
                **shown_in(task),
            )
            for task, before in zip(tasks, self.baselines.of(tasks), strict=True)
        ]

    def outcome(self, episodes: Sequence[Episode]) -> list[Lesson]:
        """Let the student try with each plan, and verify what came of it."""
        tasks = [episode.task for episode in episodes]
        teachings = [tagged(Utterance.of(one.turns[-1]), self._teaching_tag) for one in episodes]
        baselines = self.baselines.of(tasks)
        said, gains = self._taught(tasks, teachings, [one.alone for one in baselines])
        return self._lessons(episodes, baselines, teachings, said, gains)

    def _lessons(
        self,
        episodes: Sequence[Episode],
        baselines: Sequence[Baseline],
        teachings: Sequence[Utterance],
        said: Sequence[Attempt],
        gains: Sequence[float],
    ) -> list[Lesson]:
        """Return the lessons, what the students said verified and scored by its uplift."""
        tasks = [episode.task for episode in episodes]
        attempts = verified(tasks, said, self.student.answer_format)
        lessons = [
            Lesson(
                task=episode.task,
                turns=episode.turns,
                replies=episode.replies,
                alone=before.alone,
                approach=before.approach,
                teaching=teaching,
                attempt=attempt,
                leak=find_leak(episode.task, teaching.text),
            )
            for episode, before, teaching, attempt in zip(
                episodes, baselines, teachings, attempts, strict=True
            )
        ]
        return [
            replace(lesson, score=uplift_score(lesson, self._weights, dense=gain))
            for lesson, gain in zip(lessons, gains, strict=True)
        ]

    def _taught(
        self, tasks: Sequence[Task], teachings: Sequence[Utterance], alone: Sequence[Attempt]
    ) -> tuple[list[Attempt], list[float]]:
        """Return the attempts and what they gained; without a teaching, those of before."""
        given = [place for place, one in enumerate(teachings) if not one.withheld]
        asked, texts = [tasks[place] for place in given], [teachings[n].text for n in given]
        attempts, gains = list(alone), [0.0] * len(tasks)
        found = self.student.gains(asked, texts) if self._weights.dense else None
        for place, attempt in zip(given, self.student.attempt(asked, texts), strict=True):
            attempts[place] = attempt
        for place, gain in zip(given, found or (), strict=False):
            gains[place] = gain
        return attempts, gains

    def score(self, groups: Sequence[tuple[Lesson, ...]]) -> list[tuple[Lesson, ...]]:
        """Compose the whole reward."""
        return self._reward.of(groups)

    def prepare(self, tasks: Sequence[Task], actor: Actor) -> None:
        """Check the windows of both models, and ask the student what it does alone."""
        shown = {"approach": self._approach_tokens, "alone": self.student.max_new_tokens}
        shown = {k: n for k, n in shown.items() if self.renderer.prompts.has_blank("teaching", k)}
        blanks = dict.fromkeys(shown, ".")  # a token: a paragraph without any would be left out
        prompts = [
            self.renderer.prompt("teaching", task=task.question, **blanks, **shown_in(task))
            for task in longest_first(tasks, self._beside)
        ]
        actor.require_room("teacher", max(map(len, prompts)) + sum(shown.values()) - len(shown))
        self.student.prepare(tasks, teaching_tokens=actor.sampling.max_new_tokens)
        self.baselines.ask(tasks, self._progress, self._ranks)

    def _beside(self, task: Task) -> list[str]:
        """Return what the teacher's prompt shows of a task besides its question."""
        has = self.renderer.prompts.has_blank
        return [text for name, text in shown_in(task).items() if has("teaching", name)]

    def probe(self, tasks: Sequence[Task], actor: Actor, *, seed: int) -> list[LengthProbe]:
        """Sample a plan for each task, and an attempt with it as training would cut it."""
        probe, made = probed(actor, self.begin(tasks), seed=seed, who="teachings")
        cut = [actor.cut(one) for one in made]
        teachings = [tagged(Utterance.of(one), self._teaching_tag) for one in cut]
        return [probe, *self.student.probe(tasks, [one.text for one in teachings], seed=seed)]

    def measured(self, episodes: Sequence[Lesson]) -> float:
        """Return the share that is right by another verifier than the reward's; a leak is wrong."""
        tasks = [lesson.task for lesson in episodes]
        again = verified(
            tasks,
            [one.attempt for one in episodes],
            self.student.answer_format,
            name_of=independent_verifier,
        )
        return mean(
            0.0 if lesson.leaked else attempt.right
            for lesson, attempt in zip(episodes, again, strict=True)
            if not attempt.unverified
        )

    def metrics(self, groups: Sequence[Sequence[Lesson]], step: int) -> Mapping[str, float]:
        """Return how teaching goes, and what the judges say and cost."""
        lessons = [lesson for group in groups for lesson in group]
        judged = self._judges.after_step(step) if self._judges else {}
        asked: Mapping[str, float] = {}
        if self.student.waits:
            what = f"the student of step {step}"
            asked = joint_metrics(self._ranks.gather(self.student.metrics(), what))
        return {**teaching_metrics(lessons), **judged, **asked}

    def state(self) -> Mapping[str, Any]:
        """Return what the judges and the student have spent, in all processes together."""
        state: dict[str, Any] = {"judges": self._judges.state()} if self._judges else {}
        if (spent := self.student.spent) is not None:
            state["student"] = self._ranks.sums(asdict(spent), "what the student cost")
        return state

    def close(self) -> None:
        """Stop the judges and the student."""
        if self._judges:
            self._judges.close()
        self.student.close()
