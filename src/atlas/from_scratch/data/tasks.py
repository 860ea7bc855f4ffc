"""reasoning-gym's tasks -> prompts with ranked responses.

The responses are written in different ways (responses.py) and ranked by what the task's own
verifier says of them::

    score of the verifier  >  a final answer can be read  >  nearness to the reference  >  brevity

Equal in all four is a tie. The validation set is drawn from held-out tasks (data/tasks.py).
"""

from __future__ import annotations

import difflib
import random
from collections import defaultdict
from collections.abc import Sequence

from atlas.data.ranked import RankedRecord
from atlas.data.tasks import Split, mixed_tasks
from atlas.from_scratch.data.responses import write_responses
from atlas.rewards.verifiers import read_answer, verify
from atlas.run.seeding import derive_seed
from atlas.types import Task

Worth = tuple[float, bool, float, int]


def ranked_from_tasks(
    families: Sequence[str],
    size: int,
    *,
    responses_per_prompt: int,
    seed: int,
    split: Split = "train",
) -> list[RankedRecord]:
    """Return ``size`` records, in equal shares of all families.

    Args:
        families: Data sets of reasoning-gym.
        responses_per_prompt: K, 2 to 16.
        split: ``train`` or ``held_out``; the two never share a prompt.

    Raises:
        AtlasError: A family doesn't exist or has too few tasks.
    """
    tasks = mixed_tasks(families, size, seed=seed, split=split)
    answers: dict[str, list[str]] = defaultdict(list)
    for task in tasks:
        answers[task.family].append(task.answer)
    return [_ranked(task, answers[task.family], responses_per_prompt, seed) for task in tasks]


def _ranked(task: Task, answers: Sequence[str], count: int, seed: int) -> RankedRecord:
    rng = random.Random(derive_seed(seed, "responses", task.id))
    responses = write_responses(task, answers, count, rng)
    rng.shuffle(responses)  # so that no place in the list tells the rank
    worths = [worth(task, response.text) for response in responses]
    places = {value: place for place, value in enumerate(sorted(set(worths)))}
    return RankedRecord(
        prompt=task.question,
        responses=tuple(response.text for response in responses),
        scores=tuple(float(places[value] - len(places)) for value in worths),
        are_ranks=True,
        kinds=tuple(response.kind for response in responses),
        task=task,
    )


def worth(task: Task, text: str) -> Worth:
    """Return what a response is ranked by; higher is better, in this order."""
    verdict = verify(task, text)
    answer = read_answer(text)
    near = _nearness(answer.text, task.answer) if answer else 0.0
    return verdict.score or 0.0, verdict.parsed, near, -len(text)


def _nearness(answer: str, reference: str) -> float:
    """Return how near an answer is to the reference, 0 to 1; numbers by their distance."""
    try:
        distance = abs(float(answer) - float(reference))
    except ValueError:
        return difflib.SequenceMatcher(None, answer, reference, autojunk=False).ratio()
    return 1 / (1 + distance)
