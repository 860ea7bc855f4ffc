"""Turns of models that think: what is learned from is what was sampled, to the token."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from tests.unit.environments.scripted import Scripted, actor
from tests.unit.prompts.thinkers import THINKERS, thinker
from tests.unit.tiny_models import tiny_renderer
from transformers import PreTrainedTokenizerBase

from atlas.environments.actor import Actor
from atlas.environments.environment import Environment
from atlas.environments.rollout import roll_out
from atlas.prompts.chat import encode, turn_end_id
from atlas.prompts.thinking import lead_ids
from atlas.rollouts.generator import Prompt, Sampling
from atlas.training.samples import episode_tokens
from atlas.types import Completion, Episode, Task

TASK = Task(question="Guess.", answer="3", family="guess")


class Twice(Environment[Episode]):
    """Asks once more, and keeps what it was told."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.heard: list[str] = []

    def begin(self, tasks: Sequence[Task]) -> list[Prompt]:
        """See `Environment`."""
        return [encode(self.tokenizer, [{"role": "user", "content": t.question}]) for t in tasks]

    def reply(self, episodes: Sequence[Episode]) -> list[str | None]:
        """See `Environment`."""
        self.heard += [one.turns[-1].text for one in episodes]
        return ["higher" if len(one.turns) < 2 else None for one in episodes]

    def outcome(self, episodes: Sequence[Episode]) -> list[Episode]:
        """See `Environment`."""
        return list(episodes)


class Thinker:
    """Thinks before each turn, as its template has it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        num_samples: int = 1,
        seed: int = 0,
        first_place: int = 0,
    ) -> list[list[Completion]]:
        """See `Generator.generate`."""
        return [[self._said(prompt)] * num_samples for prompt in prompts]

    def _said(self, prompt: Prompt) -> Completion:
        lead = lead_ids(self.tokenizer, prompt, "Five?")
        ids = [*lead, *self.tokenizer.encode("Answer: 3"), turn_end_id(self.tokenizer)]
        text = str(self.tokenizer.decode(ids, skip_special_tokens=True))
        return Completion(
            prompt_ids=tuple(prompt),
            token_ids=tuple(ids),
            logprobs=(-0.5,) * len(ids),
            text=text.strip(),
            finish_reason="stop",
        )


@pytest.mark.parametrize("name", THINKERS)
def test_all_turns_are_one_row_of_what_was_sampled(name: str) -> None:
    """Although three of the four templates write earlier turns otherwise."""
    tokenizer = thinker(name)
    environment = Twice(tokenizer)
    thinking = Actor(
        generator=Thinker(tokenizer),
        renderer=tiny_renderer(tokenizer),
        sampling=Sampling(max_new_tokens=99),
    )
    ((episode,),) = roll_out(environment, thinking, [TASK], seed=1)
    assert environment.heard == ["Answer: 3", "Answer: 3"]
    assert episode.text == "Answer: 3\n> higher\nAnswer: 3"
    assert [turn.thoughts for turn in episode.turns] == ["Five?", "Five?"]
    (row,) = episode_tokens(episode, 1.0)
    assert [row.ids[start:end] for start, end in row.trained] == [
        turn.token_ids for turn in episode.turns
    ]
    assert "higher" in str(tokenizer.decode(list(row.ids)))


class Patient(Environment[Episode]):
    """Waits for what comes of a share until another one is sampled."""

    num_shares = 2
    outcome_waits = True

    def __init__(self) -> None:
        self.sampled = threading.Event()
        self.waited: list[bool] = []

    def begin(self, tasks: Sequence[Task]) -> list[Prompt]:
        """See `Environment`."""
        return [tiny_renderer().encode([{"role": "user", "content": t.question}]) for t in tasks]

    def outcome(self, episodes: Sequence[Episode]) -> list[Episode]:
        """See `Environment`."""
        self.waited.append(self.sampled.wait(60))
        return list(episodes)


def test_what_comes_of_a_share_is_waited_for_while_the_next_is_sampled() -> None:
    environment = Patient()
    tasks = [Task(question=f"{n}?", answer="", family="") for n in range(4)]

    def say(prompt: str) -> str:
        if "2?" in prompt:
            environment.sampled.set()
        return "so"

    groups = roll_out(environment, actor(Scripted(say)), tasks, num_samples=2, seed=1)
    assert environment.waited == [True, True]
    assert [group[0].task for group in groups] == tasks
    assert [len(group) for group in groups] == [2] * 4
