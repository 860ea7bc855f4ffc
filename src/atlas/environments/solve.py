"""The policy solves the task itself, and the verifier is the reward: plain GRPO.

``environment=solve``. A reward function of the user's own counts beside the verifier as it does in
teaching. There is no student, so that keys about one mean nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atlas.environments.environment import Context, Environment
from atlas.environments.metrics import mean
from atlas.errors import AtlasError
from atlas.rewards.configured import configured_reward
from atlas.rewards.verifiers import verified
from atlas.rewards.verifiers.independent import independent_verifier
from atlas.rollouts.generator import Prompt
from atlas.types import Attempt, Episode, Lesson, Score, Task


class Solve(Environment[Lesson]):
    """Asks the policy what a student alone is asked.

    Args:
        context: The reward's keys are read.

    Raises:
        AtlasError: Judges are configured, who read teachings; or a reward function can't be used.
    """

    def __init__(self, context: Context) -> None:
        if context.config.rim_config is not None:
            raise AtlasError("rim_config is read by environment=teaching, not solve; leave it out")
        self._renderer = context.renderer
        self._format = context.config.answer_format
        self._reward = configured_reward(context.config)

    def begin(self, tasks: Sequence[Task]) -> list[Prompt]:
        """Return the prompts of an answer without a teacher."""
        return [self._renderer.prompt("baseline", task=task.question) for task in tasks]

    def outcome(self, episodes: Sequence[Episode]) -> list[Lesson]:
        """Verify the answers; partial credit is a reward, too."""
        tasks = [episode.task for episode in episodes]
        said = [Attempt.of(episode.turns[-1]) for episode in episodes]
        attempts = verified(tasks, said, self._format)
        return [
            Lesson(task=one.task, turns=one.turns, attempt=attempt, score=_score(attempt))
            for one, attempt in zip(episodes, attempts, strict=True)
        ]

    def score(self, groups: Sequence[tuple[Lesson, ...]]) -> list[tuple[Lesson, ...]]:
        """Compose the whole reward."""
        return self._reward.of(groups)

    def measured(self, episodes: Sequence[Lesson]) -> float:
        """Return the share that is right by another verifier than the reward's."""
        tasks = [lesson.task for lesson in episodes]
        said = [one.attempt for one in episodes]
        again = verified(tasks, said, self._format, name_of=independent_verifier)
        return mean(float(attempt.correct) for attempt in again if not attempt.unverified)

    def metrics(self, groups: Sequence[Sequence[Lesson]], step: int) -> Mapping[str, float]:
        """Return the share of right answers, of those that could be told."""
        attempts = [lesson.attempt for group in groups for lesson in group]
        right = mean(float(one.correct) for one in attempts if not one.unverified)
        return {**super().metrics(groups, step), "train/accuracy": right}


def _score(attempt: Attempt) -> Score:
    value = attempt.verdict.score
    if value is None:
        return Score(value=None, parts={"verifier_abstained": 1.0}, reason=attempt.unverified)
    parts = {"right": float(attempt.correct), "verifier_abstained": 0.0}
    return Score(value=value, parts=parts, weighted={"verifier": value})
